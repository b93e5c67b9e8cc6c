"""
Many models at once, and many requests over all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.standalone.client import Client
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Stack
from tests.standalone.waiting import wait_until

SKLEARN, ONNX = 15, 5
REQUESTS = 2_000
CLIENTS = 8
READY_WITHIN_S = 60.0


def test_twenty_models_come_at_once_and_answer_two_thousand_requests(
    make_stack: Callable[..., Stack], models: Models
) -> None:
    """Two pools from zero: all READY within 60 s of the first runtime being up, then no request fails or errs."""
    numbers = {f"prober-{n}": n for n in range(SKLEARN + ONNX)}
    with make_stack() as stack:
        stack.apply(
            *(
                trained_model(name, models.uri(f"probe-{n}.joblib"), "sklearn")
                if n < SKLEARN
                else trained_model(name, models.uri(f"probe-{n}.onnx"), "onnx")
                for name, n in numbers.items()
            ),
            file="twenty.yaml",
        )

        def reasons() -> set[str]:
            return {stack.condition(name).reason for name in ("prober-0", f"prober-{SKLEARN}")}

        wait_until(lambda: reasons() - {"", "RuntimeStarting"}, "no runtime comes up", within=30)
        first_up = time.monotonic()
        stack.wait_ready(*numbers, within=READY_WITHIN_S)
        assert time.monotonic() - first_up < READY_WITHIN_S

        def ask(client: Client, turn: int) -> str:
            name = f"prober-{turn % len(numbers)}"
            probe = turn // len(numbers) % len(models.probes)
            answer = client.classes(name, models.probes[probe : probe + 1], metadata=turn % 3 > 0)
            expected = models.probe_labels[probe] + 100 * numbers[name]
            return "" if answer[0] == expected else f"{name} said {answer[0]}, not {expected}"

        with stack.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
            wrong = [each for each in pool.map(lambda turn: ask(client, turn), range(REQUESTS)) if each]
        assert not wrong, wrong[:3]

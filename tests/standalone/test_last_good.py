"""
After a change that failed: whatever dies, what comes back is the version before, and not the one that failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.standalone.faults import BACK_S, WARM, kill, wait_started_again, wait_warm
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Condition, Stack
from tests.standalone.store import Store
from tests.standalone.waiting import wait_until
from tests.standalone.watch import watching

ALL: Final = ("controller", "activator", "envoy", "adapter", "triton", "mlserver")
#: Model → why its change fails.
REASONS: Final = {"warm-sklearn": "ModelNotFound", "warm-onnx": "ModelLoadFailed"}


@pytest.fixture(scope="module")
def outdated(battered: Stack, store: Store, models: Models) -> Iterator[Stack]:
    """Both warm models have been changed, and neither change works: one finds no object, the other garbage."""
    garbage = store.put(models.uri("outdated/model.onnx"), b"this is no model\n" * 10)
    battered.apply(
        trained_model("warm-sklearn", models.uri("outdated/nothing"), "sklearn"),
        trained_model("warm-onnx", garbage, "onnx"),
    )
    wait_outdated(battered)
    yield battered
    battered.apply(
        trained_model("warm-sklearn", models.uri("probe-1.joblib"), "sklearn"),
        trained_model("warm-onnx", models.uri("probe-2.onnx"), "onnx"),
    )
    battered.wait_ready(*WARM)


def wait_outdated(stack: Stack) -> None:
    """The version before serves, the changed one has failed, and the status says both."""

    def said() -> dict[str, tuple[Condition, Condition]]:
        return {name: (stack.condition(name), stack.condition(name, "UpToDate")) for name in WARM}

    wait_until(
        lambda: all(
            ready.status == "True" and (current.status, current.reason) == ("False", REASONS[name])
            for name, (ready, current) in said().items()
        ),
        lambda: f"{said()}",
        within=BACK_S,
    )


@pytest.mark.parametrize("roles", [("controller",), ("adapter",), ("triton", "mlserver"), ALL], ids="-".join)
def test_version_before_comes_back_after_a_crash(outdated: Stack, models: Models, roles: tuple[str, ...]) -> None:
    """Of each process, and of all: the first answer afterwards is the version before's, and so is every other."""
    before = [outdated.processes(role) for role in roles]
    with watching(outdated, models, *WARM) as watch:
        wait_warm(watch)
        killed = kill(*(process for processes in before for process in processes))
        if "triton" in roles:
            watch.excuse(killed, *WARM)
        for processes in before:
            wait_started_again(outdated, processes)
        wait_warm(watch)
        if "envoy" in roles:
            watch.excuse_away(killed)
        wait_outdated(outdated)
    assert {name: watch.witness.phases(name) for name in WARM} == {name: [n] for name, n in WARM.items()}


def test_version_before_comes_back_after_a_restart_of_everything(outdated: Stack, models: Models) -> None:
    """The stack is ended, and started again on the same STATE."""
    assert outdated.stop() == 0
    outdated.start()
    with watching(outdated, models, *WARM) as watch:
        wait_warm(watch)
        wait_outdated(outdated)
        wait_warm(watch)
    assert {name: watch.witness.phases(name) for name in WARM} == {name: [n] for name, n in WARM.items()}

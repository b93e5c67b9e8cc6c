"""
SIGSTOP of each process for twenty seconds, under traffic: whoever waits for a frozen one really waits.

Nothing is lost, since nothing has ended: requests that need the frozen process
are answered once it is thawed, all others at once. Two stacks are frozen at
the same time, each at another place, so that two waits cost one.

What stays frozen has ended for all that anybody can tell.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import grpc
import pytest

from tests.standalone.faults import BACK_S, TURNS, WARM, breakable, moves, standby, wait_started_again, wait_warm
from tests.standalone.models import Models
from tests.standalone.processes import frozen
from tests.standalone.servers import adapter, adapter_pids
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.waiting import holds_for, wait_until
from tests.standalone.watch import Watch, watching
from tests.standalone.witness import Witness

FROZEN_S: Final = 20.0
HUNG: Final = "was ended: the model server is connected and has not answered for"
#: Those that a warm request does not pass.
BESIDE: Final = frozenset({"controller", "adapter", "activator"})


class Place:
    """One stack, with one role in it that is frozen."""

    def __init__(self, stack: Stack, role: str, watch: Watch, turns: Witness) -> None:
        self.stack = stack
        self.role = role
        self.watch = watch
        self.turns = turns
        self.cold = standby(stack)
        self.moved = moves(stack)


@pytest.fixture(scope="module")
def stacks(
    tmp_path_factory: pytest.TempPathFactory, battered: Stack, store: Store, models: Models
) -> Iterator[tuple[Stack, Stack]]:
    """Two, thawed again at the end of each test."""
    with breakable(tmp_path_factory.mktemp("frozen"), store, models) as second:
        yield battered, second


@pytest.mark.parametrize("roles", [("controller", "mlserver"), ("adapter", "triton"), ("activator", "envoy")])
def test_nothing_is_lost_and_nothing_moves(stacks: tuple[Stack, Stack], models: Models, roles: tuple[str, str]) -> None:
    """
    No request fails, READY stays True, and no model is unloaded or loaded again.

    Warm requests are answered all the while if they do not pass what is frozen. A cold one that was sent just after
    the freeze is answered within its thirty seconds.
    """
    with ExitStack() as contexts:
        places = []
        for stack, role in zip(stacks, roles, strict=True):
            watch = contexts.enter_context(watching(stack, models, *WARM))
            turns = contexts.enter_context(Witness(stack.target, TURNS, models.probes, models.probe_labels, rate=0))
            places.append(Place(stack, role, watch, turns))
            wait_warm(watch)
        with frozen(*(process for place in places for process in place.stack.processes(place.role))):
            cold = [place.turns.ask(place.cold) for place in places]
            beside = [place.watch for place in places if place.role in BESIDE]
            before = {id(watch): len(watch.witness.outcomes) for watch in beside}
            holds_for(
                lambda: not any(watch.witness.lost for watch in beside), "a warm request was lost", seconds=FROZEN_S
            )
            for watch in beside:
                assert len(watch.witness.outcomes) > before[id(watch)] + 10 * FROZEN_S, "warm requests waited"
        for answer in cold:
            assert answer().code is grpc.StatusCode.OK, answer()
        for place in places:
            wait_warm(place.watch)
    for place in places:
        place.stack.wait_ready(*WARM, *TURNS)
        assert moves(place.stack) == place.moved
        place.watch.readiness.check(*WARM, *TURNS)
        phases = {name: place.watch.witness.phases(name) for name in WARM}
        assert phases == {name: [number] for name, number in WARM.items()}


def test_a_server_and_an_adapter_that_stay_frozen_are_started_again(battered: Stack, models: Models) -> None:
    """
    The server's connection stands, and its process is there: its adapter alone can tell, and the status has its words.

    Its own models come back. The other server's go on, though it is their adapter that is frozen.
    """
    before, silent = battered.processes("triton"), adapter(battered, "mlserver-0.x")
    with watching(battered, models, "warm-sklearn") as watch:
        since = time.monotonic()
        for process in (*before, silent):
            process.send(signal.SIGSTOP)
        # Another Triton serves two seconds later: what was said meanwhile is on record.
        wait_until(
            lambda: watch.readiness.denied("warm-onnx", "RuntimeUnavailable", HUNG, since=since),
            "the status does not say why",
            within=FROZEN_S + BACK_S,
        )
        wait_started_again(battered, before)
        wait_until(
            lambda: adapter_pids(battered, "mlserver-0.x") - {silent.pid},
            "the adapter stays frozen",
            within=90 + BACK_S,
        )
        battered.wait_ready(*WARM, *TURNS)
    watch.readiness.check("warm-sklearn")
    with watching(battered, models, *WARM) as watch:
        wait_warm(watch)

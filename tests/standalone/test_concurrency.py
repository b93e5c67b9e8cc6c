"""
Many requests for models that are not there: one load, bounded memory, an answer for each.

What a flood of large ones does is in test_floods.py.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Final

import grpc
import pytest
from tritonclient.grpc import service_pb2

from tests.standalone.client import SERVICE
from tests.standalone.cold import COLD, Cold, channel_to, cold_stack, warm_traffic
from tests.standalone.models import Models
from tests.standalone.processes import Process
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.waiting import holds_for, wait_until

WAITERS: Final = 100
MIB: Final = 1 << 20


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, models: Models, store: Store) -> Iterator[Cold]:
    """The stack, for all tests here."""
    with cold_stack(tmp_path_factory.mktemp("cold"), models, store) as made:
        yield made


@pytest.fixture
def cold(stack: Cold) -> Cold:
    """With `COLD` on standby."""
    stack.make_cold()
    return stack


def test_a_hundred_waiters_are_one_load_and_each_gets_its_own_answer(cold: Cold) -> None:
    """The store is asked once, and each answer is that of its request, by id and by content."""
    before = cold.loads()
    with channel_to(cold.stack) as channel:
        asked = cold.ask(channel, WAITERS)
        cold.held(asked)
        cold.liar.release()
        for each in asked:
            each.check()
    assert cold.loads() == before + 1


def test_the_load_goes_on_when_its_waiters_have_left(cold: Cold) -> None:
    """Cancelled or out of time, they free their places, not the load."""
    before = cold.loads()
    with channel_to(cold.stack) as channel:
        asked = cold.ask(channel, 10)
        wait_until(lambda: cold.loads() == before + 1, "it is not loaded for them")
        cold.held(asked)
        for each in asked:
            each.call.cancel()
    cold.liar.release()
    wait_until(lambda: cold.loaded(COLD), "the load ended with its waiters")
    assert cold.loads() == before + 1


def test_held_requests_survive_a_controller(cold: Cold) -> None:
    """Killed while a hundred wait, by the time its successor is there they are answered; nothing is loaded twice."""
    before = cold.loads()
    with channel_to(cold.stack) as channel, warm_traffic(cold):
        asked = cold.ask(channel, WAITERS)
        cold.held(asked)
        killed(cold.stack, cold.stack.process("controller"))
        cold.liar.release()
        for each in asked:
            each.check()
    assert cold.loads() == before + 1


def test_a_frozen_activator_goes_on_with_what_it_holds(cold: Cold) -> None:
    """Requests that it held, and one that came meanwhile, are answered when it thaws after 20 s; no retry is needed."""
    with channel_to(cold.stack) as channel, warm_traffic(cold):
        asked = cold.ask(channel, 10)
        cold.held(asked)
        activator = cold.stack.process("activator")
        activator.send(signal.SIGSTOP)
        try:
            asked += cold.ask(channel, 1)
            cold.liar.release()
            holds_for(lambda: not any(each.call.done() for each in asked), "a frozen process answered", seconds=20)
        finally:
            activator.send(signal.SIGCONT)
        for each in asked:
            each.check()


def test_what_a_killed_activator_held_is_unavailable_and_what_comes_later_is_held(cold: Cold) -> None:
    """The one declared loss; its successor is told nothing and needs nothing."""
    with channel_to(cold.stack) as channel, warm_traffic(cold):
        asked = cold.ask(channel, WAITERS)
        cold.held(asked)
        killed(cold.stack, cold.stack.process("activator"))
        assert {each.call.code() for each in asked} == {grpc.StatusCode.UNAVAILABLE}
        wait_until(lambda: server_ready(channel), "no activator comes back")
        later = cold.ask(channel, WAITERS)
        cold.held(later)
        cold.liar.release()
        for each in later:
            each.check()


def killed(stack: Stack, process: Process) -> None:
    """SIGKILL it, and wait until there is another in its place."""
    process.send(signal.SIGKILL)

    def replaced() -> bool:
        return [each.pid for each in stack.processes(process.role)] not in ([], [process.pid])

    wait_until(replaced, f"no {process.role} comes back", within=30)


def server_ready(channel: grpc.Channel) -> bool:
    """Whether the product says that it is ready."""
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}ServerReady")
    call = ask.future(b"", timeout=5)
    return call.code() is grpc.StatusCode.OK and service_pb2.ServerReadyResponse.FromString(call.result()).ready

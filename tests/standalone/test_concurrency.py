"""
Many requests for models that are not there: one load, bounded memory, an answer for each.

The store of the cold models stalls on demand, so that what is to be held is
held for as long as a test wants.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc
import pytest
from tritonclient.grpc import InferResult, service_pb2

from tests.standalone.client import SERVICE, CallError, classes_of
from tests.standalone.liar import Liar
from tests.standalone.manifests import serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.processes import Process
from tests.standalone.raw_client import RawClient
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import holds_for, wait_until

#: Models as a request names them, and which prober each is: prober n answers 100 n + digit.
COLD, OTHER, WARM = "cold", "other", "warm"
PROBERS: Final = {COLD: 0, OTHER: 1, WARM: 2}
RUNTIME: Final = "room-for-one"
BUCKET: Final = "slow"
WAITERS: Final = 100
MIB: Final = 1 << 20


@dataclass
class Cold:
    """A stack in which `COLD` is on standby, its store stalls, and `WARM` is served."""

    stack: Stack
    liar: Liar
    models: Models

    def loaded(self, name: str) -> bool:
        """Whether a server has it."""
        document = self.stack.get(name)
        return document is not None and any(copy["state"] == "Loaded" for copy in document["live"]["copies"])

    def loads(self) -> int:
        """How often `COLD` was fetched."""
        return self.liar.fetched[BUCKET]

    def make_cold(self) -> None:
        """Have `OTHER` take its place, and its next load stall."""
        self.liar.release()
        with self.stack.client() as client:
            client.classes(OTHER, self.models.probes[:1])
        wait_until(lambda: not self.loaded(COLD), "it stays loaded")
        self.liar.hold()

    def ask(self, channel: grpc.Channel, count: int) -> list[Asked]:
        """So many requests to it at once, no two alike."""
        return [Asked(channel, self.models, COLD, number) for number in range(count)]

    def held(self, asked: list[Asked]) -> None:
        """Wait until they are all held: a later one runs into its deadline, and none is over."""
        with self.stack.client() as client, pytest.raises(CallError) as late:
            client.classes(COLD, self.models.probes[:1], timeout=1.0)
        assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED, late.value
        assert not [each.call.code() for each in asked if each.call.done()]


class Asked:
    """A request with an id and an input of its own."""

    def __init__(self, channel: grpc.Channel, models: Models, model: str, number: int) -> None:
        probe = number % len(models.probes)
        self.id = f"request-{number}"
        self.expected = int(models.probe_labels[probe]) + 100 * PROBERS[model]
        request = service_pb2.ModelInferRequest(model_name=model, id=self.id)
        request.inputs.add(name="digits", datatype="FP32", shape=[1, 64])
        request.raw_input_contents.append(models.probes[probe].tobytes())
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}ModelInfer")
        self.call = ask.future(request.SerializeToString(), metadata=(("mm-vmodel-id", model),), timeout=90)

    def check(self) -> None:
        """Raises AssertionError unless it got its own answer."""
        assert self.call.code() is grpc.StatusCode.OK, f"{self.id}: {self.call.code()}: {self.call.details()}"
        answer = service_pb2.ModelInferResponse.FromString(self.call.result())
        assert (answer.id, list(classes_of(InferResult(answer)))) == (self.id, [self.expected])


@pytest.fixture(scope="module")
def cold_stack(tmp_path_factory: pytest.TempPathFactory, models: Models, store: Store) -> Iterator[Cold]:
    """One for all tests here: each finds `COLD` on standby and leaves what it killed to come back."""
    stack = Stack(tmp_path_factory.mktemp("cold"))
    with Liar() as liar:
        liar.buckets[BUCKET] = {"model.joblib": models.file(f"padded-{PROBERS[COLD]}.joblib").read_bytes()}
        liar.stalled.add(BUCKET)
        liar.release()
        stack.secret(default=store.entry(), slow=liar.entry)
        with stack:
            stack.apply(trained_model(WARM, models.uri(f"padded-{PROBERS[WARM]}.joblib"), "sklearn"))
            stack.wait_ready(WARM)
            document = stack.get(WARM)
            assert document is not None
            size = document["live"]["copies"][0]["reservedBytes"]
            stack.apply(
                serving_runtime(RUNTIME, "mlserver", ["sklearn"], memory=str(size * 3 // 2)),
                trained_model(COLD, f"s3://{BUCKET}/model.joblib", "sklearn", runtime=RUNTIME, key="slow"),
            )
            stack.wait_ready(COLD)
            stack.apply(trained_model(OTHER, models.uri(f"padded-{PROBERS[OTHER]}.joblib"), "sklearn", runtime=RUNTIME))
            stack.wait_ready(OTHER)
            yield Cold(stack, liar, models)
            liar.release()


@pytest.fixture
def cold(cold_stack: Cold) -> Cold:
    """With `COLD` on standby."""
    cold_stack.make_cold()
    return cold_stack


@contextmanager
def channel_to(stack: Stack) -> Iterator[grpc.Channel]:
    """A connection of the test's own."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500))
    with grpc.insecure_channel(stack.target, options=options) as channel:
        yield channel


@contextmanager
def warm_traffic(cold: Cold) -> Iterator[Traffic]:
    """Requests to `WARM`, all of which are answered rightly."""
    expected = cold.models.probe_labels + 100 * PROBERS[WARM]
    with Traffic(cold.stack.target, WARM, cold.models.probes, expected) as traffic:
        wait_until(lambda: traffic.answered, "no traffic")
        yield traffic
        before = traffic.answered
        wait_until(lambda: traffic.answered > before or traffic.failures, "traffic stopped")
    traffic.check()


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


def test_two_thousand_cold_messages_of_sixteen_mebibytes_stay_with_their_clients(cold: Cold) -> None:
    """
    32 GB are offered: Envoy and the activator grow by what their windows hold, and stop.

    What is over the bound is refused in words, the rest is held; meanwhile a warm model answers and the controller does
    its work; when the clients go, their places are free.
    """
    activator, envoy = cold.stack.process("activator"), cold.stack.process("envoy")
    before = resident(activator), resident(envoy)
    with ExitStack() as stack, warm_traffic(cold) as traffic, channel_to(cold.stack) as channel:
        crowd = [
            stack.enter_context(RawClient(cold.stack.target, f"{SERVICE}ModelInfer", {"mm-vmodel-id": COLD}))
            for _ in range(4)
        ]
        for each in crowd:
            each.ask(500, 16 * MIB)
        wait_until(lambda: sum(each.ended for each in crowd) >= 1200, "too few are refused", within=60)
        sent = -1
        while sent != (sent := sum(each.sent for each in crowd)):
            # They stop by themselves, when all windows are full.
            enough = traffic.answered + 20
            wait_until(partial(answered, traffic, enough), "the warm model does not answer")
        assert sum(each.ended for each in crowd) == 1200, "eight hundred are held"
        assert sent < 800 * MIB
        assert resident(activator) - before[0] < 256 * MIB
        assert resident(envoy) - before[1] < 1024 * MIB

        refused = cold.ask(channel, 20)
        assert {each.call.code() for each in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        started = time.monotonic()
        assert cold.stack.condition(COLD).status == "True"
        assert time.monotonic() - started < 5

    wait_until(lambda: has_room(cold), "clients that are gone keep their places")
    cold.liar.release()
    with channel_to(cold.stack) as channel:
        for asked in cold.ask(channel, 5):
            asked.check()


def answered(traffic: Traffic, count: int) -> bool:
    """Whether so many requests were."""
    return traffic.answered >= count


def has_room(cold: Cold) -> bool:
    """Whether a request to `COLD` is held, rather than refused."""
    with cold.stack.client() as client, pytest.raises(CallError) as ended:
        client.classes(COLD, cold.models.probes[:1], timeout=1.0)
    assert ended.value.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED), ended.value
    return ended.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


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


def resident(process: Process) -> int:
    """Bytes of memory that it has."""
    size: int = process.process.memory_info().rss
    return size

"""
Floods: 2,000 requests of 16 MiB, 32 GB in all, for a model that is not there.

However they name their model, the activator grows by its budget and a constant
that docs/operations.md explains, at the most; what is refused is refused in
words, others are served, and what was held is answered once the model is there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final

import pytest
from grpc import StatusCode
from tritonclient.grpc import service_pb2

from tests.standalone.client import SERVICE, CallError
from tests.standalone.cold import COLD, Cold, channel_to, cold_stack, resident, warm_traffic
from tests.standalone.models import Models
from tests.standalone.raw_client import RawClient
from tests.standalone.store import Store
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import wait_until

MIB: Final = 1 << 20
COUNT, SIZE = 2_000, 16 * MIB
#: Of an activator by default; and what it has besides: windows of 2,000 requests whose messages are not read, and one
#: message that is being copied from gRPC into Python and parsed.
BUDGET: Final = 256 * MIB
BESIDES: Final = 96 * MIB
#: Of an Envoy by default.
HEAP: Final = 2048 * MIB


class Flood:
    """All of them on four connections."""

    def __init__(self, cold: Cold, stack: ExitStack, *, named: bool, odd: bool) -> None:
        metadata = {"mm-vmodel-id": COLD} if named else {}
        self._clients = [
            stack.enter_context(RawClient(cold.stack.target, f"{SERVICE}ModelInfer", metadata)) for _ in range(4)
        ]
        head = beginning(COLD, SIZE, odd=odd)
        for each in self._clients:
            each.ask(COUNT // len(self._clients), SIZE, head)

    @property
    def statuses(self) -> Counter[StatusCode]:
        """How requests ended."""
        return sum((each.statuses for each in self._clients), Counter())

    @property
    def resets(self) -> int:
        """How many did without a status."""
        return sum(each.resets for each in self._clients)

    @property
    def sent(self) -> int:
        """Bytes that the mesh has taken."""
        return sum(each.sent for each in self._clients)

    @property
    def progress(self) -> tuple[int, int]:
        """It changes while something moves."""
        return self.sent, self.statuses.total() + self.resets


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, models: Models, store: Store) -> Iterator[tuple[Cold, int]]:
    """A stack for all tests here, and how large its activator was before any."""
    with cold_stack(tmp_path_factory.mktemp("cold"), models, store) as cold:
        yield cold, resident(cold.stack.process("activator"))


@pytest.mark.parametrize(
    ("named", "odd"),
    [
        pytest.param(True, False, id="named in metadata"),
        pytest.param(False, False, id="named in the message"),
        pytest.param(False, True, id="named at the end of the message"),
    ],
)
def test_a_flood_is_held_within_bounds_or_refused_in_words(fresh: tuple[Cold, int], named: bool, odd: bool) -> None:
    """The rest stays with its clients; when they go, their places are free."""
    cold, before = fresh
    cold.make_cold()
    activator, envoy = cold.stack.process("activator"), cold.stack.process("envoy")
    for each in (activator, envoy):
        each.forget_peak()
    with ExitStack() as stack, warm_traffic(cold) as traffic:
        flood = Flood(cold, stack, named=named, odd=odd)
        wait_until(lambda: flood.statuses.total() >= COUNT * 6 // 10, "too few are refused", within=60)
        last = (-1, -1)
        while last != (last := flood.progress):
            # They stop by themselves: what is not refused is held.
            enough = traffic.answered + 50
            wait_until(partial(answered, traffic, enough), "the warm model does not answer")
        assert not flood.resets, "requests without a status: their clients read INTERNAL"
        assert set(flood.statuses) == {StatusCode.RESOURCE_EXHAUSTED}
        assert 0 < held(flood) <= 800
        assert flood.sent < HEAP

        if named:
            with channel_to(cold.stack) as channel:
                asked = cold.ask(channel, 20)
                assert {each.call.code() for each in asked} == {StatusCode.RESOURCE_EXHAUSTED}
        started = time.monotonic()
        assert cold.stack.condition(COLD).status == "True"
        assert time.monotonic() - started < 5

        some = min(held(flood), 20)
        cold.liar.release()
        wait_until(lambda: flood.statuses[StatusCode.OK] >= some, "what was held is not answered", within=60)
        assert set(flood.statuses) == {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED}
        assert not flood.resets
    wait_until(lambda: has_room(cold), "clients that are gone keep their places")
    assert activator.peak - before < BUDGET + BESIDES
    assert envoy.peak < HEAP


def answered(traffic: Traffic, count: int) -> bool:
    """Whether so many requests were."""
    return traffic.answered >= count


def held(flood: Flood) -> int:
    """Requests that have not ended."""
    return COUNT - flood.statuses.total() - flood.resets


def beginning(model: str, size: int, *, odd: bool) -> bytes:
    """
    How a request of `size` bytes begins that asks the model about one black image.

    The rest of it is a field of zeros that no server knows. An odd one does not begin with the model's name.
    """
    request = service_pb2.ModelInferRequest(model_name="" if odd else model, id="padded")
    request.inputs.add(name="digits", datatype="FP32", shape=[1, 64])
    request.raw_input_contents.append(bytes(64 * 4))
    head: bytes = request.SerializeToString()
    if odd:
        head += service_pb2.ModelInferRequest(model_name=model).SerializeToString()
    left = size - len(head) - 5
    varint = bytes((left >> shift) & 0x7F | (0x80 if shift < 21 else 0) for shift in (0, 7, 14, 21))
    return head + b"\x7a" + varint


def has_room(cold: Cold) -> bool:
    """Whether a request to `COLD` is answered, rather than refused."""
    try:
        with cold.stack.client() as client:
            client.classes(COLD, cold.models.probes[:1], timeout=10.0)
    except CallError:
        return False
    return True

"""What every request has, without a server around it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import pytest

from orchestrator.activator.hold import Hold
from orchestrator.activator.request import End, Request, end
from orchestrator.activator.waiter import Forward, Readiness, Reply
from orchestrator.domain.demand import OnDemand, ReadyAt, Refused, Want


class Call:
    """Implements ServerCall, for a call that nobody made."""

    def __init__(self, *metadata: tuple[str, str | bytes], remaining: float | None = None) -> None:
        self.metadata = metadata
        self.remaining = remaining
        self.code: grpc.StatusCode | None = None
        self.details = ""

    async def read(self) -> object:
        return grpc.aio.EOF

    async def write(self, message: bytes, /) -> None:
        raise AssertionError("nothing is sent here")

    async def send_initial_metadata(self, initial_metadata: Sequence[tuple[str, str | bytes]], /) -> None:
        raise AssertionError("nothing is sent here")

    def invocation_metadata(self) -> grpc.aio.Metadata | None:
        return grpc.aio.Metadata(*self.metadata) if self.metadata else None

    def time_remaining(self) -> float | None:
        return self.remaining

    def set_code(self, code: grpc.StatusCode, /) -> None:
        self.code = code

    def set_details(self, details: str, /) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: Sequence[tuple[str, str | bytes]], /) -> None:
        raise AssertionError("nothing is sent here")


def request(hold: Hold, *metadata: tuple[str, str | bytes], remaining: float | None = None) -> Request:
    return Request(hold, Call(*metadata, remaining=remaining), default_wait_s=120.0)


@pytest.mark.parametrize(("remaining", "waits_s"), [(None, 120.0), (60.0, 59.75), (1.0, 0.9), (0.0, 0.0)])
async def test_an_answer_to_a_deadline_comes_before_it(hold: Hold, remaining: float | None, waits_s: float) -> None:
    """A quarter of a second, or a tenth of a short one; without a deadline a request waits as long as is usual."""
    made = request(hold, remaining=remaining)
    assert made.deadline - made.since == pytest.approx(waits_s)
    assert made.own_deadline is (remaining is not None)


async def test_metadata_that_contradict_themselves_end_it_at_once(hold: Hold) -> None:
    """INVALID_ARGUMENT, before anything is held."""
    with pytest.raises(End) as caught:
        request(hold, ("mm-vmodel-id", "a"), ("mm-vmodel-id", "b"))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'a' and 'b'" in caught.value.details
    assert hold.waiting == 0


@pytest.mark.parametrize("name", ["", "No_Model", "a..b", "x" * 100_000])
async def test_what_no_model_can_be_called_is_not_asked_for(hold: Hold, name: str) -> None:
    """NOT_FOUND with a text of bounded length; the leader hears nothing of it."""
    made = request(hold)
    made.model = name
    with pytest.raises(End) as caught:
        made.admit(load=True)
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert len(caught.value.details) < 200
    assert hold.waiting == 0
    assert not hold.news.is_set()


async def test_a_place_is_taken_and_given_back_once(hold: Hold) -> None:
    """Leaving is no error any number of times, or without a place."""
    made = request(hold, ("mm-vmodel-id", "m"))
    made.leave()
    made.admit(load=True)
    assert hold.waiting == 1
    assert hold.everything() == {"m": Want(load=True, stale=False)}
    made.leave()
    made.leave()
    assert hold.waiting == 0


async def test_a_full_gate_is_the_end(hold: Hold) -> None:
    """RESOURCE_EXHAUSTED, for whoever comes one too late; a place that becomes free is free."""
    held = [request(hold, ("mm-vmodel-id", "m")) for _ in range(10)]
    for each in held:
        each.admit(load=True)
    late = request(hold, ("mm-vmodel-id", "m"))
    with pytest.raises(End) as caught:
        late.admit(load=True)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    held[0].leave()
    late.admit(load=True)


async def test_where_to(hold: Hold) -> None:
    """The leader's answer is a direction, an answer to a readiness question, or the end."""
    ready, question, refused = (request(hold, ("mm-vmodel-id", name)) for name in ("m", "q", "r"))
    ready.admit(load=True)
    question.admit(load=False)
    refused.admit(load=True)
    hold.answer("m", ReadyAt(("h:1",)))
    hold.answer("q", OnDemand())
    hold.answer("r", Refused(9, "it failed"))
    forward = await ready.direction()
    assert isinstance(forward, Forward)
    assert forward.endpoints == ("h:1",)
    assert isinstance(await question.direction(), Readiness)
    with pytest.raises(End) as caught:
        await refused.direction()
    assert (caught.value.code, caught.value.details) == (grpc.StatusCode.FAILED_PRECONDITION, "it failed")


async def test_a_stale_answer_is_counted_and_waited_past(hold: Hold) -> None:
    """The same answer is no direction any more."""
    made = request(hold, ("mm-vmodel-id", "m"))
    made.admit(load=True)
    hold.answer("m", ReadyAt(("h:1",)))
    forward = await made.direction()
    assert isinstance(forward, Forward)
    assert made.stale(forward.serial) == 1
    waiting = asyncio.create_task(made.direction())
    hold.answer("m", ReadyAt(("h:2",)))
    async with asyncio.timeout(10):
        again = await waiting
    assert isinstance(again, Forward)
    assert again.endpoints == ("h:2",)


async def test_metadata_go_on_without_the_connections_own(hold: Hold) -> None:
    """As for every request: see test_identity."""
    made = request(hold, ("mm-vmodel-id", "m"), ("te", "trailers"), ("authorization", "Bearer t"))
    assert made.forwarded() == (("mm-vmodel-id", "m"), ("authorization", "Bearer t"))


@pytest.mark.parametrize(
    ("code", "meant"),
    [(5, grpc.StatusCode.NOT_FOUND), (14, grpc.StatusCode.UNAVAILABLE), (99, grpc.StatusCode.UNKNOWN)],
)
def test_a_reply_as_grpc_says_it(code: int, meant: grpc.StatusCode) -> None:
    """A number that gRPC does not have is no crash."""
    ended = end(Reply(code, "why"))
    assert (ended.code, ended.details) == (meant, "why")

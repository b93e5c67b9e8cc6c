"""The Demand service over a real gRPC connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want
from orchestrator.mesh.demand_book import DemandBook
from orchestrator.mesh.demand_server import DemandServer, to_message
from orchestrator.mesh.server import SERVER_OPTIONS
from protos import demand_pb2, demand_pb2_grpc
from tests.orchestrator.waiting import eventually


class Bench:
    """A served book, and what it asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.book = DemandBook(on_want=self.asked.append, max_names=2)
        self.stub: demand_pb2_grpc.DemandAsyncStub


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench()
    server = grpc.aio.server(options=SERVER_OPTIONS)
    DemandServer(made.book).add_to(server)
    address = f"unix:{tmp_path}/demand.sock"
    server.add_insecure_port(address)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        made.stub = demand_pb2_grpc.DemandStub(channel)
        yield made
    await server.stop(None)


def full(*models: str) -> demand_pb2.Wanted:
    return demand_pb2.Wanted(full=True, want=[demand_pb2.Want(model=model, load=True) for model in models])


async def test_a_want_is_asked_for_and_answered(bench: Bench) -> None:
    """Over the life of one stream, and no longer."""
    call = bench.stub.Want(timeout=20)
    await call.write(full("a"))
    await eventually(lambda: bench.asked == ["a"])
    assert bench.book.wanted("a") == Want(load=True)
    bench.book.answer("a", WaitFor("Downloading"))
    assert await call.read() == to_message("a", WaitFor("Downloading"))
    await call.write(demand_pb2.Wanted(want=[demand_pb2.Want(model="a", stale=True)]))
    await eventually(lambda: bench.book.wanted("a") == Want(stale=True))
    await call.write(demand_pb2.Wanted(release=["a"]))
    await eventually(lambda: bench.book.wanted("a") is None)
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF


async def test_an_activator_that_goes_away_wants_nothing(bench: Bench) -> None:
    """Its requests are gone with it."""
    call = bench.stub.Want(timeout=20)
    await call.write(full("a"))
    await eventually(lambda: bench.book.wanted("a"))
    call.cancel()
    await eventually(lambda: bench.book.wanted("a") is None)


async def test_an_activator_that_goes_before_it_is_greeted_is_forgotten(bench: Bench) -> None:
    """It has dialled, and is gone: nothing would disconnect it later."""

    class Gone:
        def peer(self) -> str:
            return "ipv4:10.0.0.7:1"

        async def send_initial_metadata(self, _: object) -> None:
            raise asyncio.CancelledError

    context: Any = Gone()
    with pytest.raises(asyncio.CancelledError):
        await DemandServer(bench.book)._stream(context, context)
    assert {figure.name: figure.samples for figure in bench.book.figures()}["wml_activators_connected"] == {(): 0}


async def test_too_many_wants_end_the_stream(bench: Bench) -> None:
    """With both numbers, and nothing of it stays."""
    call = bench.stub.Want(timeout=20)
    await call.write(full("a", "b", "c"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == "3 models wanted on one stream, 2 is the limit"
    assert bench.book.wanted("a") is None


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (ReadyAt(("127.0.0.1:1", "127.0.0.1:2")), "ready"),
        (Refused(9, "ModelNotFound: no such object"), "failed"),
        (WaitFor("Downloading"), "waiting"),
        (OnDemand(), "standby"),
    ],
)
def test_every_answer_has_its_message(answer: Answer, state: str) -> None:
    """And the oneof says which it is, even for the one without content."""
    message = demand_pb2.Answer.FromString(to_message("a", answer).SerializeToString())
    assert (message.model, message.WhichOneof("state")) == ("a", state)
    match answer:
        case ReadyAt(endpoints):
            assert tuple(message.ready.endpoints) == endpoints
        case Refused(code, text):
            assert (message.failed.code, message.failed.message) == (code, text)
        case WaitFor(text):
            assert message.waiting.message == text
        case OnDemand():
            assert message.HasField("standby")

"""A line to one peer, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest

from orchestrator.transport.identity import ADAPTER, ORCHESTRATOR
from orchestrator.transport.line import Line, connected
from orchestrator.transport.server import server_credentials
from tests.identities import Authority, Held
from tests.orchestrator.waiting import eventually

OLD = Authority()
NEW = Authority()


class Peer(grpc.GenericRpcHandler):
    """Streams what it is told to say, and answers calls when it may. Remembers who called."""

    def __init__(self) -> None:
        self.identities = Held(OLD.identity(ADAPTER))
        self.callers: list[bytes] = []
        self.watchers = 0
        self.asked = 0
        self.news = asyncio.Condition()
        self.count = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method == "/p/watch":
            return grpc.unary_stream_rpc_method_handler(self.watch)
        return grpc.unary_unary_rpc_method_handler(self.call)

    async def watch(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        self.callers.extend(context.auth_context().get("x509_pem_cert", ()))
        self.watchers += 1
        try:
            while True:
                said = self.count
                yield str(said).encode()
                async with self.news:
                    while self.count == said:
                        await self.news.wait()
        finally:
            self.watchers -= 1

    async def call(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.asked += 1
        await self.may_answer.wait()
        return b"".join(context.auth_context().get("x509_pem_cert", ()))

    def last_heard(self, certificate: bytes) -> bool:
        return self.callers[-1:] == [certificate]

    async def say(self) -> int:
        async with self.news:
            self.count += 1
            self.news.notify_all()
        return self.count


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((made,))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(made.identities))
    made.address = f"127.0.0.1:{port}"
    await server.start()
    yield made
    await server.stop(None)


@pytest.fixture
async def identities() -> Held:
    return Held(OLD.identity(ORCHESTRATOR))


@pytest.fixture
async def line(peer: Peer, identities: Held) -> AsyncIterator[Line]:
    made = Line(peer.address, identities=identities, role=ADAPTER)
    yield made
    await made.close()


def watch(channel: grpc.aio.Channel, timeout: float | None = None) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
    stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/p/watch")
    return stream(b"", timeout=timeout)


class Follower:
    """Reads a line's stream."""

    def __init__(self, line: Line) -> None:
        self.messages: list[bytes] = []
        self.task = asyncio.create_task(self._read(line))

    async def _read(self, line: Line) -> None:
        async for message in line.follow(watch):
            self.messages.append(message)

    async def hears(self, count: int) -> None:
        await eventually(lambda: self.task.done() or str(count).encode() in self.messages)
        assert not self.task.done(), self.task

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        assert self.task.cancelled()


def call(line: Line) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = line.channel.unary_unary("/p/call")
    return unary(b"", timeout=20)


async def test_a_stream_goes_on_with_a_new_certificate(peer: Peer, line: Line, identities: Held) -> None:
    """The reader notices nothing: it hears all that is said afterwards, from the one stream that there is then."""
    follower = Follower(line)
    await follower.hears(0)
    for _ in range(3):
        await identities.become(OLD.identity(ORCHESTRATOR))
        certificate = identities.current().certificate
        await eventually(partial(peer.last_heard, certificate))
        await follower.hears(await peer.say())
    await eventually(lambda: peer.watchers == 1)
    await follower.end()
    await eventually(lambda: peer.watchers == 0)


async def test_what_is_under_way_ends_as_it_began(peer: Peer, line: Line, identities: Held) -> None:
    """A call on the old connection is answered there, one that comes later on the new one."""
    before = identities.current().certificate
    peer.may_answer.clear()
    old = call(line)
    await eventually(lambda: peer.asked)
    follower = Follower(line)
    await identities.become(OLD.identity(ORCHESTRATOR))
    await eventually(lambda: peer.callers[-1:] == [identities.current().certificate])
    peer.may_answer.set()
    assert (await old, await call(line)) == (before, identities.current().certificate)
    await follower.end()


async def test_a_new_authority_takes_the_place_of_the_old_one_and_no_call_fails(
    peer: Peer, line: Line, identities: Held
) -> None:
    """In the order of the Secrets: bundles, then leaves, at either end first; calls and a stream all the while."""
    follower = Follower(line)
    answered = 0
    done = False

    async def calls() -> None:
        nonlocal answered
        while not done:
            await call(line)
            answered += 1

    calling = asyncio.create_task(calls())
    both = (OLD, NEW)
    await peer.identities.become(OLD.identity(ADAPTER, *both))
    await identities.become(OLD.identity(ORCHESTRATOR, *both))
    await follower.hears(await peer.say())
    await peer.identities.become(NEW.identity(ADAPTER, *both))
    await identities.become(NEW.identity(ORCHESTRATOR, *both))
    await eventually(lambda: peer.callers[-1] == identities.current().certificate)
    await peer.identities.become(NEW.identity(ADAPTER))
    await identities.become(NEW.identity(ORCHESTRATOR))
    await eventually(lambda: peer.callers[-1] == identities.current().certificate)
    await follower.hears(await peer.say())
    seen = answered
    await eventually(lambda: answered > seen or calling.done())
    done = True
    await calling
    await follower.end()


async def test_an_identity_that_the_peer_refuses_leaves_the_connection_as_it_is(
    peer: Peer, line: Line, identities: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, until the peer takes it or there is another."""
    monkeypatch.setattr("orchestrator.transport.line._AGAIN_S", 0.01)
    follower = Follower(line)
    await follower.hears(0)
    await identities.become(NEW.identity(ORCHESTRATOR, OLD))
    for _ in range(3):
        await follower.hears(await peer.say())
    assert len(peer.callers) == 1
    await peer.identities.become(OLD.identity(ADAPTER, OLD, NEW))
    await eventually(lambda: peer.callers[-1] == identities.current().certificate)
    await follower.end()


async def test_a_peer_that_is_away_is_dialled_with_the_identity_of_then(
    peer: Peer, line: Line, identities: Held
) -> None:
    """`refresh` before an attempt, since nothing renews a line that is not followed."""
    assert await call(line) == identities.current().certificate
    same = line.channel
    line.refresh()
    assert line.channel is same
    await identities.become(OLD.identity(ORCHESTRATOR))
    line.refresh()
    assert await call(line) == identities.current().certificate


async def test_a_peer_of_another_role_is_none(peer: Peer, identities: Held) -> None:
    """Whoever took over an address: it is not told anything."""
    line = Line(peer.address, identities=identities, role="mesh")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(line)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await line.close()


async def test_the_end_of_a_stream_is_its_readers_end(peer: Peer, line: Line, identities: Held) -> None:
    """An error is raised, a cancellation is the reader's own."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in line.follow(lambda channel: watch(channel, timeout=0.2)):
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_without_an_identity_it_is_plaintext_and_never_renewed() -> None:
    """As on one machine."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Peer(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    line = Line(f"127.0.0.1:{port}")
    follower = Follower(line)
    await follower.hears(0)
    line.refresh()
    assert await call(line) == b""
    assert await connected(line.channel, 5)
    await follower.end()
    await line.close()
    await server.stop(None)

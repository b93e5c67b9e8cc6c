"""Who may connect to the control plane, and who may call: over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from orchestrator.transport.identity import MESH, ORCHESTRATOR, Identity
from orchestrator.transport.server import OnlyRole, server_credentials
from tests.identities import Authority, Held

AUTHORITY = Authority()
STRANGER = Authority()


class Echo(grpc.GenericRpcHandler):
    """Every kind of call, each as a generator where it can be one."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        match handler_call_details.method:
            case "/e/unary":
                return grpc.unary_unary_rpc_method_handler(self.unary)
            case "/e/stream":
                return grpc.unary_stream_rpc_method_handler(self.stream)
            case "/e/both":
                return grpc.stream_stream_rpc_method_handler(self.both)
            case _:
                return None

    async def unary(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    async def stream(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        yield request
        yield request

    async def both(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        async for request in requests:
            await context.write(request)


class Bench:
    """A server of the mesh's callers."""

    def __init__(self, identities: Held, port: int) -> None:
        self.identities = identities
        self.address = f"127.0.0.1:{port}"

    def channel(self, identity: Identity | None, *, trusting: bytes = AUTHORITY.certificate) -> grpc.aio.Channel:
        key, certificate = (identity.key, identity.certificate) if identity is not None else (None, None)
        credentials = grpc.ssl_channel_credentials(trusting, key, certificate)
        options = (("grpc.ssl_target_name_override", ORCHESTRATOR), ("grpc.use_local_subchannel_pool", 1))
        return grpc.aio.secure_channel(self.address, credentials, options=options)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    identities = Held(AUTHORITY.identity(ORCHESTRATOR))
    server = grpc.aio.server(interceptors=(OnlyRole(MESH),))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(identities))
    await server.start()
    yield Bench(identities, port)
    await server.stop(None)


async def once(message: bytes) -> AsyncIterator[bytes]:
    yield message


async def said(channel: grpc.aio.Channel, method: str = "unary") -> list[bytes] | grpc.aio.AioRpcError:
    """The answers, or the error."""
    async with channel:
        try:
            match method:
                case "unary":
                    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/e/unary")
                    return [await unary(b"m", timeout=20)]
                case "stream":
                    stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/e/stream")
                    return [answer async for answer in stream(b"m", timeout=20)]
                case _:
                    both: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/e/{method}")
                    return [answer async for answer in both(once(b"m"), timeout=20)]
        except grpc.aio.AioRpcError as error:
            return error


@pytest.mark.parametrize(("method", "answers"), [("unary", 1), ("stream", 2), ("both", 1)])
async def test_the_right_role_is_served_and_no_other(bench: Bench, method: str, answers: int) -> None:
    """In every kind of call; the refusal names both roles."""
    assert await said(bench.channel(AUTHORITY.identity(MESH)), method) == [b"m"] * answers
    for role in ("adapter", "orchestrator", "meshes"):
        refused = await said(bench.channel(AUTHORITY.identity(role)), method)
        assert isinstance(refused, grpc.aio.AioRpcError)
        assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
        assert refused.details() == f"role mesh is needed here, and the caller's is {role}"


async def test_a_method_that_is_not_served_is_none(bench: Bench) -> None:
    """Checking roles makes no method of it."""
    refused = await said(bench.channel(AUTHORITY.identity(MESH)), "none")
    assert isinstance(refused, grpc.aio.AioRpcError)
    assert refused.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("identity", [None, STRANGER.identity(MESH)], ids=["no certificate", "another authority's"])
async def test_who_is_not_of_the_authority_does_not_get_in(bench: Bench, identity: Identity | None) -> None:
    """The handshake fails."""
    refused = await said(bench.channel(identity))
    assert isinstance(refused, grpc.aio.AioRpcError)
    assert refused.code() is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_does_not_get_in(bench: Bench) -> None:
    """Nobody speaks it by mistake."""
    refused = await said(grpc.aio.insecure_channel(bench.address))
    assert isinstance(refused, grpc.aio.AioRpcError)
    assert refused.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_shown_to_the_next_connection(bench: Bench) -> None:
    """And a new authority trusted by it; the connections that there are go on."""
    before = bench.channel(AUTHORITY.identity(MESH))
    async with before:
        both: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = before.stream_stream("/e/both")
        call = both(timeout=60)
        await call.write(b"1")
        assert await call.read() == b"1"
        await bench.identities.become(STRANGER.identity(ORCHESTRATOR))
        client = STRANGER.identity(MESH)
        assert await said(bench.channel(client, trusting=STRANGER.certificate)) == [b"m"]
        assert isinstance(await said(bench.channel(client)), grpc.aio.AioRpcError)
        assert isinstance(
            await said(bench.channel(AUTHORITY.identity(MESH), trusting=STRANGER.certificate)), grpc.aio.AioRpcError
        )
        await call.write(b"2")
        assert await call.read() == b"2"

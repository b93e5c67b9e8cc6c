"""Who may command an adapter: over real sockets, with files as a kubelet keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from adapters.server import AdapterService, listen
from adapters.transport import IdentityFiles
from orchestrator.transport.identity import Identity
from protos import fleet_pb2, fleet_pb2_grpc
from tests.adapters.leader import READY, Leader
from tests.adapters.world import World
from tests.identities import Authority, mount

AUTHORITY = Authority()
STRANGER = Authority()


class Bench:
    """An adapter that is served over TLS, and where."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tls = directory / "tls"
        self.address = f"unix:{directory}/a.sock"
        mount(self.tls, AUTHORITY.identity("adapter"))

    def channel(self, identity: Identity | None, *, trusting: bytes = AUTHORITY.certificate) -> grpc.aio.Channel:
        key, certificate = (identity.key, identity.certificate) if identity is not None else (None, None)
        credentials = grpc.ssl_channel_credentials(trusting, key, certificate)
        options = (("grpc.ssl_target_name_override", "adapter"), ("grpc.use_local_subchannel_pool", 1))
        return grpc.aio.secure_channel(self.address, credentials, options=options)

    async def hello(self, channel: grpc.aio.Channel) -> fleet_pb2.Report | grpc.aio.AioRpcError:
        """The first report, or why there is none."""
        async with channel:
            stub: fleet_pb2_grpc.AdapterAsyncStub = fleet_pb2_grpc.AdapterStub(channel)
            try:
                report = await stub.Watch(fleet_pb2.Hello(epoch=5, protocol=1), timeout=20).read()
            except grpc.aio.AioRpcError as error:
                return error
            assert isinstance(report, fleet_pb2.Report)
            return report

    async def code(self, channel: grpc.aio.Channel) -> grpc.StatusCode:
        said = await self.hello(channel)
        return said.code() if isinstance(said, grpc.aio.AioRpcError) else grpc.StatusCode.OK


@pytest.fixture
async def bench(world: World, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    service = AdapterService(world.ledger, world.loader, world.bells)
    server = await listen(made.address, service, tls=IdentityFiles(made.tls))
    yield made
    service.stop()
    await server.stop(None)


async def test_an_orchestrator_commands_and_nobody_else(bench: Bench, world: World) -> None:
    """Both kinds of calls; the refusal names both roles, and nothing was done."""
    for role in ("mesh", "adapter"):
        refused = await bench.hello(bench.channel(AUTHORITY.identity(role)))
        assert isinstance(refused, grpc.aio.AioRpcError)
        assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
        assert refused.details() == f"role orchestrator is needed here, and the caller's is {role}"
        async with bench.channel(AUTHORITY.identity(role)) as channel:
            stub: fleet_pb2_grpc.AdapterAsyncStub = fleet_pb2_grpc.AdapterStub(channel)
            with pytest.raises(grpc.aio.AioRpcError, match="role orchestrator is needed"):
                await stub.Load(fleet_pb2.LoadRequest())
    assert world.ledger.epoch == 0
    async with bench.channel(AUTHORITY.identity("orchestrator")) as channel:
        leader = Leader(fleet_pb2_grpc.AdapterStub(channel), 5)
        await leader.until(lambda: leader.last.server == READY)
        await leader.load("a")
        await leader.until(lambda: "a" in leader.copies)


@pytest.mark.parametrize(
    "identity", [None, STRANGER.identity("orchestrator")], ids=["no certificate", "another authority's"]
)
async def test_who_is_not_of_the_authority_does_not_get_in(bench: Bench, identity: Identity | None) -> None:
    """The handshake fails."""
    assert await bench.code(bench.channel(identity)) is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_does_not_get_in(bench: Bench) -> None:
    """Nobody speaks it by mistake."""
    assert await bench.code(grpc.aio.insecure_channel(bench.address)) is grpc.StatusCode.UNAVAILABLE


async def test_new_files_are_for_the_next_connection_and_a_watch_goes_on(bench: Bench, world: World) -> None:
    """Leaf and authority; what is under way ends as it began."""
    async with bench.channel(AUTHORITY.identity("orchestrator")) as channel:
        leader = Leader(fleet_pb2_grpc.AdapterStub(channel), 5)
        await leader.until(lambda: leader.last.server == READY)
        mount(bench.tls, STRANGER.identity("adapter"))
        theirs = STRANGER.identity("orchestrator")
        assert await bench.code(bench.channel(theirs, trusting=STRANGER.certificate)) is grpc.StatusCode.OK
        assert await bench.code(bench.channel(theirs)) is grpc.StatusCode.UNAVAILABLE
        await leader.load("a")
        await leader.until(lambda: "a" in leader.copies)


async def test_files_that_do_not_fit_together_change_nothing(bench: Bench) -> None:
    """It is said once, and the key is not in it; once they fit, they are taken."""
    new = AUTHORITY.identity("adapter")
    client = AUTHORITY.identity("orchestrator")
    (bench.tls / "tls.crt").unlink()
    (bench.tls / "tls.crt").write_bytes(new.certificate)
    with capture_logs() as logs:
        assert await bench.code(bench.channel(client)) is grpc.StatusCode.OK
        assert await bench.code(bench.channel(client)) is grpc.StatusCode.OK
    # Its server may be told to be ready meanwhile.
    assert [line["event"] for line in logs if line["event"].startswith("identity")] == ["identity_unreadable"]
    assert "PRIVATE" not in repr(logs)
    (bench.tls / "tls.key").unlink()
    (bench.tls / "tls.key").write_bytes(new.key)
    with capture_logs() as logs:
        assert await bench.code(bench.channel(client)) is grpc.StatusCode.OK
    assert [line["event"] for line in logs] == ["identity_read"]


async def test_a_directory_without_an_identity_is_an_error(world: World, tmp_path: Path) -> None:
    """Rather than an adapter that anybody commands."""
    service = AdapterService(world.ledger, world.loader, world.bells)
    with pytest.raises(OSError):
        await listen(f"unix:{tmp_path}/a.sock", service, tls=IdentityFiles(tmp_path))

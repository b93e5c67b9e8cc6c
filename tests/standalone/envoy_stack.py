"""
A real Envoy between the real control plane and servers that answer at once.

The fakes stand for model servers and the activator: they take any method,
answer with who they are, and remember the metadata and messages that came.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from orchestrator.domain.routes import Route
from orchestrator.mesh.bootstrap import BootstrapSettings, bootstrap
from orchestrator.mesh.control_tls import sds_files
from orchestrator.mesh.load_reports import LoadReports
from orchestrator.mesh.resources import ClusterFactory
from orchestrator.mesh.router import Router
from orchestrator.mesh.server import SERVER_OPTIONS, MeshServer
from orchestrator.mesh.usage import Usage
from orchestrator.platform.local.installation import find_installation
from orchestrator.transport.identity import MESH, Identities
from orchestrator.transport.server import OnlyRole, server_credentials
from tests.orchestrator.waiting import eventually
from tests.ports import free_port

SERVICE = "/inference.GRPCInferenceService/"
NODE = "mesh-0"
#: Much more often than in life: a test waits for some of them.
REPORT_S = 0.1
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
#: By default gRPC cancels at random what a busy server has not looked at, from a thousand calls on.
PATIENT = (("grpc.server.max_pending_requests", 10_000), ("grpc.server.max_pending_requests_hard_limit", 10_000))


def envoy_binary() -> Path:
    """The binary that `standalone` runs."""
    return find_installation().envoy


def field_1(text: bytes, *, number: int = 1) -> bytes:
    """A message with a string of that length in field `number`."""
    size, length = len(text), b""
    while size >= 128:
        length, size = length + bytes([size % 128 + 128]), size // 128
    return bytes([number * 8 + 2]) + length + bytes([size]) + text


def model_message(model: str, size: int = 0) -> bytes:
    """A ModelInferRequest of `size` bytes at least that names the model."""
    head = field_1(model.encode())
    # The rest is raw_input_contents (field 7), whose own length takes up to five bytes.
    return head if size <= len(head) else head + _filler(size - len(head))


def _filler(size: int) -> bytes:
    for overhead in range(2, 7):
        filler = field_1(b"\0" * (size - overhead), number=7)
        if len(filler) == size:
            return filler
    raise AssertionError(size)


@dataclass
class Call:
    """One request as a server saw it."""

    method: str
    metadata: dict[str, Any]
    message: bytes


@dataclass
class FakeServer:
    """Answers `name` and nothing else, unless `error` or `answer` says so."""

    name: str
    calls: list[Call] = field(default_factory=list)
    error: tuple[grpc.StatusCode, str] | None = None
    answer: bytes | None = None
    #: Cleared, nothing is answered.
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    #: `host:port` or `unix:/path`.
    address: str = ""
    _server: grpc.aio.Server | None = None

    def __post_init__(self) -> None:
        self.hold.set()

    async def stop(self) -> None:
        """Die: close the port and every connection."""
        if self._server is not None:
            await self._server.stop(None)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """A handler for whatever method that is."""
        method = details.method.removeprefix(SERVICE)

        async def stream(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
            async for message in requests:
                self.calls.append(Call(method, metadata, message))
                await self.hold.wait()
                if self.error is not None:
                    await context.abort(*self.error)
                await context.write(self.name.encode() if self.answer is None else self.answer)

        return grpc.stream_stream_rpc_method_handler(stream)

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[FakeServer]:
        """Serve on the address; port 0 picks one."""
        server = grpc.aio.server(options=(*SERVER_OPTIONS, *UNLIMITED, *PATIENT))
        server.add_generic_rpc_handlers((_Handler(self),))
        port = server.add_insecure_port(address)
        self.address = address if address.startswith("unix:") else f"127.0.0.1:{port}"
        await server.start()
        self._server = server
        try:
            yield self
        finally:
            await self.stop()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._server.service(handler_call_details)


def free_address() -> str:
    """An address that nobody serves."""
    return f"127.0.0.1:{free_port()}"


class CountedUsage(Usage):
    """With the number of reports so far."""

    reports = 0

    def report(self, source: object, rates: Mapping[str, float]) -> None:
        """One more."""
        super().report(source, rates)
        self.reports += 1


class ControlPlane:
    """A router and its server, that can be stopped and made anew, as empty as a new leader."""

    def __init__(self, address: str, activator: str, identities: Identities | None = None) -> None:
        """With `identities` it is served to the mesh's role alone."""
        self.address = address
        self._activator = activator
        self._identities = identities
        self.changes: list[frozenset[str]] = []
        #: Models, once for each report that names them as used.
        self.used: list[str] = []
        self.usage = CountedUsage(self.used.extend)
        self.router = self._router()
        self._server: grpc.aio.Server | None = None

    def _router(self) -> Router:
        router = Router(
            clusters=ClusterFactory(activator=self._activator),
            now=time.monotonic,
            on_change=self.changes.append,
        )
        router.expect(frozenset({NODE}))
        return router

    async def start(self) -> None:
        """Open the port."""
        guards = (OnlyRole(MESH),) if self._identities is not None else None
        self._server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=guards)
        MeshServer(self.router).add_to(self._server)
        LoadReports(self.usage, REPORT_S).add_to(self._server)
        if self._identities is None:
            self._server.add_insecure_port(self.address)
        else:
            self._server.add_secure_port(self.address, server_credentials(self._identities))
        await self._server.start()

    async def stop(self) -> None:
        """Close the port, and forget everything."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        self.changes.clear()
        self.router = self._router()

    def acked(self, model: str) -> bool:
        """Whether the model's route is accepted."""
        view = self.router.view(model)
        return view is not None and view.acked


@dataclass
class Stack:
    """All of it, running."""

    control: ControlPlane
    activator: FakeServer
    channel: grpc.aio.Channel
    envoy: asyncio.subprocess.Process
    admin: str

    async def call(self, method: str, message: bytes, **metadata: str | bytes) -> bytes:
        """A unary call; `_` in the metadata's keys stands for `-`."""
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(SERVICE + method)
        pairs = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
        # A test may have a thousand under way, on the one event loop that answers them, too.
        return await unary(message, metadata=pairs, timeout=60)

    async def error(self, method: str, message: bytes, **metadata: str | bytes) -> tuple[grpc.StatusCode, str]:
        """The error of a call that has to fail."""
        try:
            answer = await self.call(method, message, **metadata)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError(f"answered {answer[:80]!r}")


async def admin_get(path: str, target: str) -> bytes:
    """GET from Envoy's admin socket; empty while it is not up."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return b""
    writer.write(f"GET {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@asynccontextmanager
async def running(directory: Path, *, standbys: int = 0) -> AsyncIterator[Stack]:
    """A stack with sockets and logs in the directory; the ports of the standby orchestrators are closed."""
    activator = FakeServer("activator")
    listen = free_address()
    async with (
        activator.serve(f"unix:{directory}/activator.sock"),
        waiting(directory, listen, activator=activator.address, standbys=standbys) as (control, envoy),
    ):
        await control.start()
        async with grpc.aio.insecure_channel(listen, options=UNLIMITED) as channel:
            admin = f"{directory}/admin.sock"
            await eventually_ready(admin)
            yield Stack(control, activator, channel, envoy, admin)


@asynccontextmanager
async def waiting(
    directory: Path,
    listen: str,
    *,
    activator: str = "unix:/nowhere",
    standbys: int = 0,
    tls: tuple[Path, Identities] | None = None,
) -> AsyncIterator[tuple[ControlPlane, asyncio.subprocess.Process]]:
    """
    An Envoy that waits for a control plane, which is not started; its admin socket is admin.sock.

    `tls`: Envoy's directory of certificates, and the control plane's identity.
    """
    control = ControlPlane(f"unix:{directory}/xds.sock", activator, tls[1] if tls is not None else None)
    if tls is not None:
        for name, content in sds_files(str(tls[0])).items():
            (directory / name).write_text(json.dumps(content))
    admin = f"{directory}/admin.sock"
    made = BootstrapSettings(
        node_id=NODE,
        listen=listen,
        admin=f"unix:{admin}",
        xds=(*(free_address() for _ in range(standbys)), control.address),
        activator=activator,
        ready=f"unix:{directory}/ready.sock",
        tls_dir=str(tls[0]) if tls is not None else None,
        sds_dir=str(directory),
    )
    config = directory / "envoy.json"
    config.write_text(json.dumps(bootstrap(made)))
    with (directory / "envoy.log").open("wb") as log:
        flags = ("--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart", "-l", "info")
        envoy = await asyncio.create_subprocess_exec(
            envoy_binary(), "-c", config, *flags, stdout=log, stderr=log, cwd=directory
        )
    try:
        # The port is bound by then.
        await eventually_state(admin, b"INITIALIZING")
        yield control, envoy
    finally:
        if envoy.returncode is None:
            envoy.kill()
        await envoy.wait()
        await control.stop()


async def eventually_ready(admin: str) -> None:
    """Wait for Envoy's first snapshot."""
    await eventually_state(admin, b"LIVE")


async def eventually_state(admin: str, state: bytes) -> None:
    """Wait until Envoy says so."""
    deadline = time.monotonic() + 10
    for pause in itertools.repeat(0.02):
        if state in await admin_get(admin, "/ready"):
            return
        assert time.monotonic() < deadline, f"Envoy did not become {state!r}"
        await asyncio.sleep(pause)


async def publish(stack: Stack, *endpoints: str, model: str = "m") -> None:
    """Have the route, accepted."""
    stack.control.router.publish(Route(model, tuple(sorted(endpoints))))
    await eventually(lambda: stack.control.acked(model))


async def eventually_cluster_count(stack: Stack, count: int) -> None:
    """Wait until Envoy has so many model clusters."""
    for _ in range(500):
        listing = await admin_get(stack.admin, "/clusters")
        if len({line.split(b"::")[0] for line in listing.splitlines() if line.startswith(b"model/")}) == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not {count} clusters")

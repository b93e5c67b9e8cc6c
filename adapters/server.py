"""
The fleet protocol's server: protos/fleet.proto on one side, domain values on the other.

Commands are checked against the fence (epoch and boot), taken, and answered at
once. A Watch sends the latest state and never a backlog: a slow reader is held by
its own stream's flow control, and then gets the state as it is by then.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration

from adapters.domain.copies import Copy, CopyKey, CopyState, Credentials, Order, ServerState, Source
from adapters.domain.errors import Draining, Refused, ServerNotReady
from adapters.domain.progress import Changes
from adapters.ledger import Ledger
from adapters.loader.loader import Loader
from adapters.transport import IdentityFiles, OnlyOrchestrators
from protos import fleet_pb2, fleet_pb2_grpc

PROTOCOL: Final = 1
#: This version of the protocol, and the one before.
_ACCEPTED: Final = frozenset({PROTOCOL, PROTOCOL - 1})

#: Leaders ping: a frozen adapter must not look alive for as long as TCP is patient.
SERVER_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_send_message_length", -1),
)

#: No leader has a higher epoch. If one were accepted, the adapter would refuse every later leader.
_HIGHEST_EPOCH: Final = 2**53
_NO_EPOCH: Final = f"an epoch is {_HIGHEST_EPOCH} at most"

#: Names that models may have: a name becomes a directory in the repository.
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")

_SERVER: Final = {
    ServerState.STARTING: fleet_pb2.SERVER_STATE_STARTING,
    ServerState.READY: fleet_pb2.SERVER_STATE_READY,
    ServerState.LOST: fleet_pb2.SERVER_STATE_LOST,
}
_COPY: Final = {
    CopyState.DOWNLOADING: fleet_pb2.COPY_STATE_DOWNLOADING,
    CopyState.LOADING: fleet_pb2.COPY_STATE_LOADING,
    CopyState.LOADED: fleet_pb2.COPY_STATE_LOADED,
    CopyState.UNLOADING: fleet_pb2.COPY_STATE_UNLOADING,
    CopyState.FAILED: fleet_pb2.COPY_STATE_FAILED,
}


class Bells:
    """Wakes every reader of the ledger; ringing costs nothing when nobody reads."""

    def __init__(self) -> None:
        self._bells: set[asyncio.Event] = set()

    def ring(self) -> None:
        """Something changed."""
        for bell in self._bells:
            bell.set()

    def add(self) -> asyncio.Event:
        """A reader's bell."""
        bell = asyncio.Event()
        self._bells.add(bell)
        return bell

    def remove(self, bell: asyncio.Event) -> None:
        """The reader is gone."""
        self._bells.discard(bell)


class AdapterService(fleet_pb2_grpc.AdapterServicer):
    """Serves leaders, old and new, and standbys."""

    def __init__(self, ledger: Ledger, loader: Loader, bells: Bells) -> None:
        self._ledger = ledger
        self._loader = loader
        self._bells = bells
        #: The highest epoch that need not be written any more.
        self._written = ledger.epoch
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether no command is taken any more."""
        return self._stopping

    def stop(self) -> None:
        """Take no commands any more, and end the Watches."""
        self._stopping = True
        self._bells.ring()

    async def Watch(
        self, request: fleet_pb2.Hello, context: grpc.aio.ServicerContext[fleet_pb2.Hello, fleet_pb2.Report]
    ) -> AsyncIterator[fleet_pb2.Report]:
        if request.protocol not in _ACCEPTED:
            # Leaders recognise this refusal by the word that it begins with.
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"protocol {request.protocol} is not spoken here; {sorted(_ACCEPTED)} are",
                self._fence(),
            )
        if request.epoch > _HIGHEST_EPOCH:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _NO_EPOCH)
        await self._meet(request.epoch)
        await self._loader.met()
        bell = self._bells.add()
        seen = seq = 0
        try:
            while True:
                bell.clear()
                if self._ledger.version > seen:
                    changes = self._ledger.changes(seen)
                    seen, seq = changes.version, seq + 1
                    yield _report(changes, seq)
                elif self._stopping:
                    return
                else:
                    await bell.wait()
        finally:
            self._bells.remove(bell)

    async def Load(
        self,
        request: fleet_pb2.LoadRequest,
        context: grpc.aio.ServicerContext[fleet_pb2.LoadRequest, fleet_pb2.Accepted],
    ) -> fleet_pb2.Accepted:
        await self._check(request.fence, request.key, context, loads=True)
        self._loader.load(_order(request))
        return fleet_pb2.Accepted()

    async def Unload(
        self,
        request: fleet_pb2.UnloadRequest,
        context: grpc.aio.ServicerContext[fleet_pb2.UnloadRequest, fleet_pb2.Accepted],
    ) -> fleet_pb2.Accepted:
        await self._check(request.fence, request.key, context)
        self._loader.unload(_key(request.key))
        return fleet_pb2.Accepted()

    async def _check(
        self,
        fence: fleet_pb2.Fence,
        key: fleet_pb2.Key,
        context: grpc.aio.ServicerContext[Any, Any],
        *,
        loads: bool = False,
    ) -> None:
        """Abort a command that is refused. There is no wait between the last look at the fence and the return."""
        if not _MODEL.fullmatch(key.model) or not key.uid or not key.revision:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the key lacks a name, uid or revision that can be")
        if fence.epoch > _HIGHEST_EPOCH:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _NO_EPOCH)
        await self._meet(fence.epoch)
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the adapter is stopping", self._fence())
        try:
            self._ledger.check(fence.epoch, fence.boot)
            if loads:
                self._ledger.admit()
        except Refused as refusal:
            await self._refuse(refusal, context)

    async def _meet(self, epoch: int) -> None:
        """
        Obey no lower epoch from now on, nor after a restart of the adapter: it is written before anything is done.

        On a disk that takes nothing it is written later: an Unload may be what makes room there.
        """
        self._ledger.hello(epoch)
        if (highest := self._ledger.epoch) > self._written:
            await self._loader.remember()
            self._written = max(self._written, highest)

    async def _refuse(self, refusal: Refused, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
        unavailable = isinstance(refusal, ServerNotReady | Draining)
        code = grpc.StatusCode.UNAVAILABLE if unavailable else grpc.StatusCode.FAILED_PRECONDITION
        await context.abort(code, str(refusal), self._fence())
        raise AssertionError("abort raises")

    def _fence(self) -> tuple[tuple[str, str], ...]:
        return (("wml-epoch", str(self._ledger.epoch)), ("wml-boot", self._ledger.boot))


async def listen(address: str, service: AdapterService, *, tls: IdentityFiles | None = None) -> grpc.aio.Server:
    """
    Serve at `address`; with `tls` only to orchestrators.

    Raises RuntimeError when the address is taken or invalid, OSError when the files of `tls` cannot be used.
    """
    credentials = tls.credentials() if tls is not None else None
    server = grpc.aio.server(
        options=SERVER_OPTIONS, interceptors=(OnlyOrchestrators(),) if credentials is not None else None
    )
    fleet_pb2_grpc.add_AdapterServicer_to_server(service, server)
    if credentials is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, credentials)
    await server.start()
    return server


def _report(changes: Changes, seq: int) -> fleet_pb2.Report:
    return fleet_pb2.Report(
        boot=changes.boot,
        seq=seq,
        full=changes.full,
        epoch=changes.epoch,
        protocol=PROTOCOL,
        capacity=fleet_pb2.Capacity(total=changes.total, reserved=changes.reserved),
        copies=[_copy(copy) for copy in changes.copies],
        gone=_keys(changes.gone),
        draining=changes.draining,
        closing=changes.closing,
        server=_SERVER[changes.server],
    )


def _keys(keys: Sequence[CopyKey]) -> list[fleet_pb2.Key]:
    return [fleet_pb2.Key(model=key.model, uid=key.uid, revision=key.revision) for key in keys]


def _copy(copy: Copy) -> fleet_pb2.Copy:
    failure = None
    if copy.failure is not None:
        failure = fleet_pb2.Failure(
            reason=copy.failure.reason.value,
            message=copy.failure.message,
            needed=copy.failure.needed,
            available=copy.failure.available,
            source_changed=copy.failure.source_changed,
            crashed=copy.failure.crashed,
        )
    return fleet_pb2.Copy(
        key=_keys((copy.key,))[0],
        state=_COPY[copy.state],
        reserved=copy.reserved,
        measured=copy.measured,
        failure=failure,
        download=_duration(copy.download_s),
        load=_duration(copy.load_s),
    )


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _key(key: fleet_pb2.Key) -> CopyKey:
    return CopyKey(key.model, key.uid, key.revision)


def _order(request: fleet_pb2.LoadRequest) -> Order:
    return Order(
        key=_key(request.key),
        source=Source(
            bucket=request.source.bucket,
            path=request.source.path,
            framework=request.source.framework,
            uri=request.source.uri,
        ),
        credentials=Credentials(
            access_key_id=request.credentials.access_key_id,
            secret_access_key=request.credentials.secret_access_key,
            endpoint_url=request.credentials.endpoint_url,
            region=request.credentials.region,
            certificate=request.credentials.certificate,
        ),
        reserve=request.reserve,
        urgent=request.urgent,
        timeout_s=max(0.0, request.timeout.ToNanoseconds() / 1e9),
    )

"""
The orchestrator's side of the fleet protocol: one Watch a pod, and commands.

A Watch that breaks is opened again with back-off; until then what the adapter
said last stands as unknown. Commands are never repeated here: the reconciler
decides again from what it sees. An adapter that has heard a later leader refuses
this one's commands, and counts as silent. Whether that ends this leader's term is
for the lease to say, where there is one (fences.py). Once the term is over nothing
is commanded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Final

import grpc
import structlog

from orchestrator.domain.errors import FleetError
from orchestrator.domain.fleet import CopyKey, LoadOrder, Pod, Pool
from orchestrator.fleet.convert import key_to_proto, load_request, report_from_proto
from orchestrator.fleet.fences import Fences
from orchestrator.fleet.observed import Changes, ObservedFleet
from orchestrator.machinery.backoff import Backoff
from orchestrator.machinery.epoch import CREDIBLE, epoch_of
from orchestrator.machinery.term import Term
from orchestrator.transport.identity import ADAPTER, Identities
from orchestrator.transport.line import Line
from protos import fleet_pb2, fleet_pb2_grpc

log = structlog.get_logger(__name__)

#: The version of the fleet protocol. An adapter of the release before speaks the version before, and is spoken to in
#: it for as long as its models are handed over.
PROTOCOL: Final = 1

#: Between attempts to reach an adapter: a pod is of use as soon as its adapter listens, and a refused attempt costs little.
_DIAL_S: Final = (0.05, 0.25)

#: A frozen or powered-off adapter's stream ends by these, not by TCP's patience.
_CHANNEL_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Without it a ping, a keepalive's too, may stay unanswered for a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Despite its name it bounds how long one attempt to connect may take: on a busy machine more than a moment.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # The channel's own back-off comes on top of ours.
    ("grpc.max_reconnect_backoff_ms", round(_DIAL_S[1] * 1000)),
)
_COMMAND_TIMEOUT_S: Final = 5.0

OnChange = Callable[[frozenset[str], frozenset[str]], None]


class FleetClient:
    """Keeps `observed` current and sends commands. Implements `ports.Fleet`."""

    def __init__(
        self, observed: ObservedFleet, *, term: Term, on_change: OnChange, identities: Identities | None = None
    ) -> None:
        """Adapters are dialled with mutual TLS if there are `identities`."""
        self._observed = observed
        self._term = term
        self._on_change = on_change
        self._identities = identities
        self._lines: dict[str, Line] = {}
        #: Where each watched pod was dialled.
        self._dialled: dict[str, str] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._fences = Fences()
        self._news = asyncio.Event()

    def list_pods(self, pods: Iterable[Pod], pools: Mapping[str, Pool] = MappingProxyType({})) -> None:
        """
        The platform's complete list of pods: watches begin and end accordingly.

        A pod is dialled once it has an address, and again when it gets another (its node came back).
        """
        changes = self._observed.list_pods(pods, pools)
        listed = {view.pod.uid: view.pod for view in self._observed.pods() if view.pod.adapter}
        for uid in [uid for uid in self._watches if uid not in listed or listed[uid].adapter != self._dialled[uid]]:
            del self._dialled[uid]
            self._fences.gone(uid)
            task = self._watches.pop(uid)
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
            task.cancel()
        for uid, pod in listed.items():
            if uid not in self._watches:
                self._dialled[uid] = pod.adapter
                self._watches[uid] = asyncio.create_task(self._watch(pod), name=f"watch {pod.name}")
        self._announce(changes)

    async def heard(self, patience_s: float) -> None:
        """
        Return once pods are listed and all of them that have an address have reported, or `patience_s` later.

        The list itself is waited for without bound: without one every pod would be taken for absent.
        """
        try:
            async with asyncio.timeout(patience_s):
                await self._until(lambda: self._observed.listed)
        except TimeoutError:
            log.warning("pods_not_listed", patience_s=patience_s)
            await self._until(lambda: self._observed.listed)
        try:
            async with asyncio.timeout(patience_s):
                await self._until(lambda: not self._silent())
        except TimeoutError:
            log.warning("pods_silent", pods=self._silent(), patience_s=patience_s)

    def _silent(self) -> list[str]:
        return [view.pod.name for view in self._observed.pods() if view.pod.adapter and not view.known]

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def close(self) -> None:
        """End all watches."""
        tasks = [*self._watches.values(), *self._retired]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._watches.clear()
        self._dialled.clear()

    async def load(self, pod: str, order: LoadOrder) -> None:
        """Ask the pod for a copy. Raises FleetError when it was not accepted."""
        call = self._stub(pod).Load(load_request(self._fence(pod), order), timeout=_COMMAND_TIMEOUT_S)
        await self._accepted(f"load of {order.key.model}", call, self._observed.sending_load(pod, order.key))

    async def unload(self, pod: str, key: CopyKey) -> None:
        """Ask the pod to drop a copy. Raises FleetError when it was not accepted."""
        request = fleet_pb2.UnloadRequest(fence=self._fence(pod), key=key_to_proto(key))
        call = self._stub(pod).Unload(request, timeout=_COMMAND_TIMEOUT_S)
        await self._accepted(f"unload of {key.model}", call, self._observed.sending_unload(pod, key))

    async def _accepted(self, what: str, call: Awaitable[fleet_pb2.Accepted], undo: Callable[[], None]) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            undo()
            if not self._term.renewed:
                # Where there is a lease, only the Watch's word is taken up: it is checked against the lease (`_appeal`).
                self._term.hear(_epoch_in(error), what)
            raise FleetError(f"{what}: {error.code().name}: {error.details()}") from None
        except asyncio.CancelledError:
            undo()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # This task was not cancelled: a channel that closes, because its pod is gone, cancels the calls on it.
            raise FleetError(f"{what}: the pod is gone") from None

    def _fence(self, pod: str) -> fleet_pb2.Fence:
        view = self._observed.pod(pod)
        if view is None:
            raise FleetError(f"pod {pod} is gone")
        if self._term.over:
            # Adapters that have not heard of the other leader yet would obey.
            raise FleetError("another leads")
        return fleet_pb2.Fence(epoch=self._term.epoch, boot=view.boot)

    def _stub(self, pod: str) -> fleet_pb2_grpc.AdapterAsyncStub:
        line = self._lines.get(pod)
        if line is None:
            raise FleetError(f"pod {pod} is gone")
        return fleet_pb2_grpc.AdapterStub(line.channel)

    async def _watch(self, pod: Pod) -> None:
        # Made in the task that closes it: a task may be cancelled before its first step.
        line = Line(pod.adapter, options=_CHANNEL_OPTIONS, identities=self._identities, role=ADAPTER)
        self._lines[pod.uid] = line
        backoff = Backoff(*_DIAL_S, random.random)
        protocol, told = PROTOCOL, False
        try:
            while True:
                ahead = 0
                try:
                    line.refresh()
                    await self._watch_once(pod, line, backoff, protocol)
                except _Ahead as error:
                    ahead, reason = error.epoch, "it has heard a later leader"
                except grpc.aio.AioRpcError as error:
                    reason = f"{error.code().name}: {error.details()}"
                    if _is_of_protocol(error):
                        if protocol == PROTOCOL:
                            protocol = PROTOCOL - 1
                            continue
                        if not told:
                            told = True
                            log.warning("adapter_too_old", pod=pod.name, runtime=pod.runtime, problem=reason)
                except Exception:
                    # A report that cannot be read must not end this task: the pod would stay known with what it said last.
                    log.exception("watch_failed", pod=pod.name, runtime=pod.runtime)
                    reason = "its report could not be read"
                else:
                    reason = "the adapter ended the stream"
                view = self._observed.pod(pod.uid)
                if view is not None and view.known:
                    log.warning("adapter_silent", pod=pod.name, runtime=pod.runtime, problem=reason)
                self._announce(self._observed.disconnected(pod.uid))
                # The next connection may reach an adapter of another release.
                protocol = PROTOCOL
                if ahead:
                    await self._appeal(pod, ahead)
                await asyncio.sleep(backoff.next())
        finally:
            # The pod may have been listed again meanwhile: then the entry is its next watch's.
            if self._lines.get(pod.uid) is line:
                del self._lines[pod.uid]
            await line.close()

    async def _watch_once(self, pod: Pod, line: Line, backoff: Backoff, protocol: int) -> None:
        hello = fleet_pb2.Hello(epoch=self._term.epoch, protocol=protocol)
        reports = line.follow(lambda channel: fleet_pb2_grpc.AdapterStub(channel).Watch(hello))
        async with aclosing(reports):
            async for message in reports:
                self._take(pod, message, backoff)

    def _take(self, pod: Pod, message: fleet_pb2.Report, backoff: Backoff) -> None:
        report = report_from_proto(message, pod.uid)
        if report.epoch > self._term.epoch:
            raise _Ahead(report.epoch)
        if report.epoch == self._term.epoch:
            self._fences.obeys(pod.uid)
        before = self._observed.pod(pod.uid)
        changes = self._observed.report(pod.uid, report)
        backoff.reset()
        if before is not None and (before.server, before.boot) != (report.server, report.boot):
            log.info("server_changed", pod=pod.name, runtime=pod.runtime, state=report.server.value, boot=report.boot)
        self._announce(changes)

    async def _appeal(self, pod: Pod, epoch: int) -> None:
        """An adapter has heard a later leader. The lease says which of the two leads; without one, the later does."""
        news = self._fences.ahead(pod.uid, epoch)
        if self._term.renewed:
            await self._term.confirmed()
            successor = self._fences.successor
        else:
            successor = epoch if epoch <= CREDIBLE else 0
        if successor:
            self._term.hear(successor, pod.name)
        elif news:
            log.error("adapter_not_believed", pod=pod.name, runtime=pod.runtime, epoch=self._term.epoch, told=epoch)

    def _announce(self, changes: Changes) -> None:
        self._news.set()
        if changes.models or changes.runtimes:
            self._on_change(changes.models, changes.runtimes)


class _Ahead(Exception):
    """The adapter's fence is higher than this leader's epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


def _is_of_protocol(refusal: grpc.aio.AioRpcError) -> bool:
    """Whether an adapter refuses a Watch for the number of its protocol: it has no other word for that."""
    said = refusal.details() or ""
    return refusal.code() is grpc.StatusCode.FAILED_PRECONDITION and said.startswith("protocol ")


def _epoch_in(refusal: grpc.aio.AioRpcError) -> int:
    """The epoch that a refusal carries; 0 if it does not."""
    said = {key: value for key, value in refusal.trailing_metadata() or () if key == "wml-epoch"}.get("wml-epoch", "")
    return epoch_of(said) if isinstance(said, str) else 0

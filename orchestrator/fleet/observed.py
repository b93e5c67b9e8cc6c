"""
What is known of the runtime pods and their copies, as data.

Pods come from the platform (a complete list: a pod that is missing is gone),
copies from adapters' reports. Everything is indexed by model and by pod, so
that an event costs what it touches and never a walk over all models.

A pod whose adapter does not answer keeps its copies: they are *unknown*, and
what is not proven absent stays (law 9: absence never deletes). They end when
the server is reported lost, when another boot reports in full, or when the
platform no longer lists the pod.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from orchestrator.domain.fleet import Copy, CopyKey, CopyState, Pod, PodView, Pool, ServerState
from orchestrator.fleet.counts import FleetCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One adapter's report: protos/fleet.proto's message as a domain value."""

    boot: str
    full: bool
    server: ServerState
    epoch: int = 0
    total: int = 0
    reserved: int = 0
    copies: tuple[Copy, ...] = ()
    gone: tuple[CopyKey, ...] = ()
    draining: bool = False
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What an event touched: names of models, and runtimes whose pods became usable, full or free."""

    models: frozenset[str] = frozenset()
    runtimes: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Entry:
    view: PodView
    copies: dict[CopyKey, Copy] = field(default_factory=dict)


class ObservedFleet:
    """The fleet as last heard. Not a cache of intentions: only what adapters and the platform said."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pods: dict[str, _Entry] = {}
        self._by_runtime: dict[str, set[str]] = {}
        #: model → where its copies are: pod and key of each, whatever its state.
        self._holders: dict[str, set[tuple[str, CopyKey]]] = {}
        #: Models of which a loaded copy vanished without our asking, until `found`.
        self._lost: set[str] = set()
        #: By runtime.
        self._pools: Mapping[str, Pool] = {}
        #: Whether the platform has listed its pods at all.
        self.listed = False
        self.counts = FleetCounts()

    # Questions.

    def pods(self, runtime: str | None = None) -> tuple[PodView, ...]:
        """The pods of one runtime, or all."""
        uids: Iterable[str] = self._pods if runtime is None else self._by_runtime.get(runtime, ())
        return tuple(self._pods[uid].view for uid in sorted(uids))

    def pod(self, uid: str) -> PodView | None:
        """The pod with that uid, if it is listed."""
        entry = self._pods.get(uid)
        return entry.view if entry else None

    def pool(self, runtime: str) -> Pool | None:
        """What the platform says of a pool as a whole."""
        return self._pools.get(runtime)

    def runtimes(self) -> frozenset[str]:
        """The runtimes that have pods, or are to have some."""
        return frozenset(r for r, uids in self._by_runtime.items() if uids) | self._pools.keys()

    def copies(self, model: str) -> tuple[Copy, ...]:
        """All copies of that name, of whatever uid and revision."""
        return tuple(self._pods[uid].copies[key] for uid, key in sorted(self._holders.get(model, ())))

    def copies_in(self, pod: str) -> Mapping[CopyKey, Copy]:
        """All copies in one pod. O(copies in the pod): for eviction, not for every event."""
        entry = self._pods.get(pod)
        return entry.copies if entry else {}

    def models(self) -> frozenset[str]:
        """Every name of which some pod holds a copy."""
        return frozenset(self._holders)

    def lost(self, model: str) -> bool:
        """Whether a loaded copy of it vanished since `found` was last called."""
        return model in self._lost

    def found(self, model: str) -> None:
        """The model serves again, or its absence is by choice."""
        self._lost.discard(model)

    # Events.

    def list_pods(self, pods: Iterable[Pod], pools: Mapping[str, Pool] = MappingProxyType({})) -> Changes:
        """The platform's complete list."""
        inherited, self.listed = not self.listed, True
        models: set[str] = set()
        runtimes = {r for r in self._pools.keys() | pools.keys() if self._pools.get(r) != pools.get(r)}
        self._pools = dict(pools)
        current = {p.uid: p for p in pods}
        for uid in [uid for uid in self._pods if uid not in current]:
            models |= self._drop_copies(uid)
            pod = self._pods.pop(uid).view.pod
            self._by_runtime[pod.runtime].discard(uid)
            runtimes.add(pod.runtime)
        for uid, pod in current.items():
            entry = self._pods.get(uid)
            if entry is None:
                # One without an address has not begun to run, and holds nothing.
                self._pods[uid] = _Entry(PodView(pod=pod, unheard=inherited and bool(pod.adapter), since=self._clock()))
                self._by_runtime.setdefault(pod.runtime, set()).add(uid)
                runtimes.add(pod.runtime)
                continue
            # A server does not become another's while it runs, whatever is written on its pod.
            pod = replace(pod, runtime=entry.view.pod.runtime)
            if entry.view.pod != pod:
                # What was said at an address that is not the pod's any more is not heard there again.
                known = entry.view.known and entry.view.pod.adapter == pod.adapter
                since = entry.view.since if known == entry.view.known else self._clock()
                entry.view = replace(entry.view, pod=pod, known=known, since=since)
                models |= {k.model for k in entry.copies}
                runtimes.add(pod.runtime)
        return Changes(frozenset(models), frozenset(runtimes))

    def report(self, uid: str, report: Report) -> Changes:
        """An adapter's word. A report of a pod that is no longer listed changes nothing."""
        entry = self._pods.get(uid)
        if entry is None:
            return Changes()
        before = entry.view
        models: set[str] = set()
        if report.boot != before.boot or report.server is ServerState.LOST:
            said = (c.key for c in report.copies if c.state is not CopyState.UNKNOWN)
            models |= self._drop_copies(uid, keep=said if report.boot == before.boot else ())
        if report.full:
            models |= self._drop_copies(uid, keep={c.key for c in report.copies})
        for key in report.gone:
            models |= self._forget(uid, key)
        for copy in report.copies:
            was = entry.copies.get(copy.key)
            if copy.state is CopyState.UNKNOWN and was is not None:
                # What it was is the best that is known of it.
                continue
            if was != copy:
                self.counts.changed(before.pod.runtime, was, copy)
                self._put(uid, copy)
                models.add(copy.key.model)
        known = before.known or report.full
        entry.view = replace(
            before,
            known=known,
            boot=report.boot,
            server=report.server,
            total=report.total,
            reserved=report.reserved,
            draining=report.draining,
            closing=report.closing,
            unheard=before.unheard and not report.full,
            since=before.since if (known, report.server) == (before.known, before.server) else self._clock(),
        )
        if _fate(entry.view) != _fate(before):
            # What was kept as unknown is a fact again, for better or worse; or is to leave.
            models |= {k.model for k in entry.copies}
        changed = _standing(entry.view) != _standing(before)
        return Changes(frozenset(models), frozenset({before.pod.runtime}) if changed else frozenset())

    def disconnected(self, uid: str) -> Changes:
        """The adapter does not answer: what it said last stays, as unknown."""
        entry = self._pods.get(uid)
        if entry is None or not entry.view.known:
            return Changes()
        entry.view = replace(entry.view, known=False, since=self._clock())
        return Changes(frozenset(k.model for k in entry.copies), frozenset({entry.view.pod.runtime}))

    def sending_load(self, uid: str, key: CopyKey) -> Callable[[], None]:
        """
        A Load is about to be sent: the copy counts as under way until it is reported. Call what is returned if refused.

        Without this, a reconcile between the command and the report would place the model twice. It is noted before
        the command and not on its answer, because the report of a load that fails at once may overtake the answer:
        the copy would be under way for ever.
        """
        entry = self._pods.get(uid)
        copy = entry.copies.get(key) if entry is not None else None
        if copy is not None and copy.state not in (CopyState.FAILED, CopyState.UNLOADING):
            return _nothing
        return self._assume(uid, Copy(key=key, pod=uid, state=CopyState.DOWNLOADING))

    def sending_unload(self, uid: str, key: CopyKey) -> Callable[[], None]:
        """An Unload is about to be sent; see `sending_load`."""
        entry = self._pods.get(uid)
        copy = entry.copies.get(key) if entry is not None else None
        if copy is None:
            return _nothing
        return self._assume(uid, replace(copy, state=CopyState.UNLOADING, failure=None))

    # Bookkeeping.

    def _assume(self, uid: str, assumed: Copy) -> Callable[[], None]:
        """Put what a command will make of a copy; the undoing holds only if nothing was reported since."""
        entry = self._pods.get(uid)
        if entry is None:
            return _nothing
        before = entry.copies.get(assumed.key)
        self._put(uid, assumed)

        def undo() -> None:
            if self._pods.get(uid) is not entry or entry.copies.get(assumed.key) is not assumed:
                return
            if before is None:
                self._forget(uid, assumed.key)
            else:
                entry.copies[assumed.key] = before

        return undo

    def _put(self, uid: str, copy: Copy) -> None:
        entry = self._pods[uid]
        before = entry.copies.get(copy.key)
        if before is not None and before.state is CopyState.LOADED and copy.state is not CopyState.LOADED:
            self._note_loss(before, copy.state)
        entry.copies[copy.key] = copy
        self._holders.setdefault(copy.key.model, set()).add((uid, copy.key))

    def _note_loss(self, copy: Copy, state: CopyState | None) -> None:
        if copy.state is not CopyState.LOADED or state is CopyState.UNLOADING:
            return
        # Where a pod ends all is withdrawn in time; and what another pod has as well is not lost.
        if not self._pods[copy.pod].view.closing and not self._has_another(copy):
            self._lost.add(copy.key.model)

    def _has_another(self, copy: Copy) -> bool:
        entries = ((self._pods[uid], key) for uid, key in self._holders[copy.key.model] if uid != copy.pod)
        return any(
            key == copy.key and entry.view.known and entry.copies[key].state is CopyState.LOADED
            for entry, key in entries
        )

    def _forget(self, uid: str, key: CopyKey) -> set[str]:
        """Drop one copy by the adapter's own word: no loss, an unload or a replacement ended."""
        copy = self._pods[uid].copies.pop(key, None)
        if copy is None:
            return set()
        self.counts.changed(self._pods[uid].view.pod.runtime, copy, None)
        holders = self._holders[key.model]
        holders.discard((uid, key))
        if not holders:
            del self._holders[key.model]
        return {key.model}

    def _drop_copies(self, uid: str, keep: Iterable[CopyKey] = ()) -> set[str]:
        """Copies that vanished with their server."""
        kept = set(keep)
        models: set[str] = set()
        for key, copy in list(self._pods[uid].copies.items()):
            if key not in kept:
                self._note_loss(copy, None)
                models |= self._forget(uid, key)
        return models


def _nothing() -> None:
    """There is nothing to undo."""


def _fate(view: PodView) -> tuple[bool, bool, bool]:
    """What of a pod matters to models that it holds, beside their copies."""
    return (view.known, view.draining, view.closing)


def _standing(view: PodView) -> tuple[bool, bool, ServerState, str, int, int]:
    """What of a pod matters to models that it does not hold."""
    return (view.known, view.usable, view.server, view.pod.message, view.total, view.reserved)

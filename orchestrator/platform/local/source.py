"""
The directory as a source of desired state, and STATE as the place of statuses.

Changes come from the kernel within tens of milliseconds. They only ever mean
"look again": a look every few seconds finds what a notification missed, so
that nothing depends on them. A directory that cannot be listed delivers
nothing, and neither does a state directory that cannot be written: an object
is delivered only once its uid is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Never

import structlog
from watchfiles import awatch

from orchestrator.domain.config import CONFIG_NAME
from orchestrator.domain.errors import PlatformUnavailable
from orchestrator.domain.serving_runtime import ServingRuntime, unreadable_runtime
from orchestrator.domain.storage import SECRET_NAME, StorageConfig
from orchestrator.domain.trained_model import ModelStatus
from orchestrator.platform.local.directory import Directory, Merged
from orchestrator.platform.local.documents import ConfigData, Document, Kind, ObjectId, Problem
from orchestrator.platform.local.reader import Reader, Seen
from orchestrator.platform.local.record_store import RecordStore
from orchestrator.platform.local.records import Changes, Record, reconcile, with_status
from orchestrator.ports import DesiredSink

log = structlog.get_logger(__name__)

#: How long something must be missing to be gone: longer than an editor takes to write a file anew.
SETTLE_S: Final = 0.25
#: What notifications missed is found after this.
RESCAN_S: Final = 2.0
#: The notifier's thread wakes this often, whatever happens.
_WATCH_STEP_MS: Final = 20
_WATCH_DEBOUNCE_MS: Final = 100


class DirectorySource:
    """Implements ports.DesiredSource and ports.StatusWriter."""

    def __init__(
        self,
        directory: Path,
        store: RecordStore,
        *,
        namespace: str,
        builtins: Mapping[str, ServingRuntime],
        clock: Callable[[], float],
        timestamp: Callable[[], str],
        new_uid: Callable[[], str],
        on_config: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        """
        `clock` is monotonic, `timestamp` is RFC 3339 in UTC; `builtins` are overridden by the directory's.

        `on_config` is told what the ConfigMap has.
        """
        self._path = directory
        self._store = store
        self._namespace = namespace
        self._builtins = builtins
        self._clock = clock
        self._timestamp = timestamp
        self._new_uid = new_uid
        self._on_config = on_config
        #: What is on disk; changed only with the lock, after the disk.
        self._records: dict[str, Record] = {}
        self._writing = asyncio.Lock()
        self._look = asyncio.Event()
        self._rewatch = asyncio.Event()
        #: What was logged last, so that each problem is one line.
        self._problems: frozenset[Problem] = frozenset()
        self._troubles: dict[str, str] = {}
        self._broken: Mapping[ObjectId, str] = {}

    async def run(self, sink: DesiredSink) -> None:
        """Deliver until cancelled. Raises OSError when STATE cannot be read at the start."""
        self._records = await asyncio.to_thread(self._store.load)
        remembered: dict[str, list[Document]] = {}
        for record in self._records.values():
            remembered.setdefault(record.file, []).append(record.document)
        reader = Reader(self._path, Directory(SETTLE_S, remembered), self._namespace)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(), name="watch")
            await self._follow(reader, sink)

    def problems(self) -> list[str]:
        """What a person should mend in the directory now, a line each."""
        troubles = [f"{event.replace('_', ' ')}: {reason}" for event, reason in self._troubles.items() if reason]
        return [*troubles, *(str(problem) for problem in sorted(self._problems))]

    def refused(self, name: str) -> str:
        """Why the TrainedModel of that name in the directory could never be read; "" if it could, or there is none."""
        return self._broken.get(ObjectId(Kind.MODEL, name), "")

    async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
        """
        Store the status; a model that is gone, or is another by now, is no error.

        Raises PlatformUnavailable when it has to be written later.
        """
        async with self._writing:
            record = self._records.get(name)
            if record is None or record.model.uid != uid or record.model.status == status:
                return
            record = with_status(record, status)
            try:
                await asyncio.to_thread(self._store.save, record)
            except OSError as error:
                raise PlatformUnavailable(f"status of {name}: {error.strerror or type(error).__name__}") from error
            # Not delivered by itself: it is known to who wrote it, and a delivery costs a walk over all models.
            self._records[name] = record

    async def _follow(self, reader: Reader, sink: DesiredSink) -> Never:
        latest: Merged | None = None
        looked_at, again_s = self._clock(), 0.0
        identity: tuple[int, int] | None = None
        self._look.set()
        while True:
            if self._look.is_set() or self._clock() - looked_at >= again_s:
                self._look.clear()
                seen = await self._refresh(reader)
                looked_at, again_s = self._clock(), RESCAN_S
                if seen is not None:
                    again_s = RESCAN_S if seen.again_s is None else min(RESCAN_S, seen.again_s)
                    if seen.identity != identity:
                        # Notifications are tied to the directory that was there, not to its path.
                        identity = seen.identity
                        self._rewatch.set()
                    self._report(seen.merged.problems)
                    self._broken = seen.merged.broken
                    # What an earlier stack knew and is missing now is either back or gone before the first delivery.
                    first = latest is None and seen.settled
                    again = latest is not None and seen.merged is not latest
                    if (first or again) and await self._persist(seen.merged):
                        latest = seen.merged
                        self._deliver(latest, sink)
            await self._pause(max(0.0, looked_at + again_s - self._clock()))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            return

    async def _refresh(self, reader: Reader) -> Seen | None:
        try:
            seen = await asyncio.to_thread(reader.refresh, self._clock())
        except OSError as error:
            self._trouble("directory_unreadable", error)
            return None
        self._trouble("directory_unreadable", None)
        return seen

    async def _persist(self, merged: Merged) -> bool:
        desired = {i.name: owned for i, owned in merged.objects.items() if i.kind is Kind.MODEL}
        async with self._writing:
            changes = reconcile(self._records, desired, now=self._timestamp(), new_uid=self._new_uid)
            try:
                await asyncio.to_thread(self._apply, changes)
            except OSError as error:
                self._trouble("state_unwritable", error)
                return False
        self._trouble("state_unwritable", None)
        return True

    def _apply(self, changes: Changes) -> None:
        # One at a time, so that what is on disk and what is known stay one, wherever it fails.
        for record in changes.written:
            self._store.save(record)
            self._records[record.model.name] = record
        for name in changes.deleted:
            self._store.delete(name)
            del self._records[name]

    def _deliver(self, merged: Merged, sink: DesiredSink) -> None:
        values = {identity: owned.document.value for identity, owned in merged.objects.items()}
        runtimes = dict(self._builtins)
        for identity, value in values.items():
            if isinstance(value, ServingRuntime):
                runtimes[identity.name] = value
        for identity, why in merged.broken.items():
            if identity.kind is Kind.RUNTIME and identity.name not in runtimes:
                runtimes[identity.name] = unreadable_runtime(identity.name, f"local-{identity.name}", why)
        storage = values.get(ObjectId(Kind.SECRET, SECRET_NAME))
        live = values.get(ObjectId(Kind.CONFIG, CONFIG_NAME))
        config = live.entries if isinstance(live, ConfigData) else {}
        self._on_config(config)
        sink.replace(
            models={name: record.model for name, record in self._records.items()},
            runtimes=runtimes,
            storage=storage if isinstance(storage, StorageConfig) else None,
            config=config,
        )

    async def _watch(self) -> Never:
        """Turn notifications into looks. Without them the looks every RESCAN_S go on."""
        told = False
        while True:
            self._rewatch.clear()
            try:
                changes = awatch(
                    self._path,
                    watch_filter=None,
                    step=_WATCH_STEP_MS,
                    debounce=_WATCH_DEBOUNCE_MS,
                    recursive=False,
                    stop_event=self._rewatch,
                )
                async for _ in changes:
                    self._look.set()
            except Exception as error:
                # Nothing depends on it: the notifier has errors of its own, such as of a file whose name is not UTF-8.
                if not told:
                    log.warning("watch_failed", directory=str(self._path), reason=_reason(error), rescan_s=RESCAN_S)
                told = True
                # Until the directory is there again: `_follow` says so.
                try:
                    async with asyncio.timeout(RESCAN_S):
                        await self._rewatch.wait()
                except TimeoutError:
                    continue
            else:
                told = False
                self._look.set()

    def _report(self, problems: frozenset[Problem]) -> None:
        """One line for each problem that is new, one for each that is no more."""
        for problem in sorted(problems - self._problems):
            write = log.info if problem.ignored else log.warning
            event = "manifest_ignored" if problem.ignored else "manifest_invalid"
            write(event, file=problem.file, line=problem.line, reason=problem.reason)
        for problem in sorted(self._problems - problems):
            if not problem.ignored:
                log.info("manifest_mended", file=problem.file, line=problem.line, reason=problem.reason)
        self._problems = problems

    def _trouble(self, event: str, error: OSError | None) -> None:
        """One line when the directory or the state stops being usable, one when it is again."""
        reason = (error.strerror or type(error).__name__) if error is not None else ""
        if reason == self._troubles.get(event, ""):
            return
        if reason:
            log.error(event, directory=str(self._path), reason=reason)
        else:
            log.info("directory_usable", directory=str(self._path), after=event)
        self._troubles[event] = reason


def _reason(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error)

"""
The shell that runs loads and unloads: one job a copy at a time.

Commands are taken at once and never block; their outcome is in the ledger. The
jobs of one copy run one after another. A job ends when it is done, when an Unload
revokes it, or when the server or the adapter ends.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Never

import structlog

from adapters.domain.copies import CopyKey, Failure, Order, Reason
from adapters.domain.errors import ServerError
from adapters.domain.ports import ModelServer, ModelStore
from adapters.domain.progress import Admission, Departure, Ticket
from adapters.layouts.plan import Planner
from adapters.ledger import Ledger
from adapters.loader.attempt import Attempts
from adapters.loader.failures import Failures
from adapters.loader.installer import Installer
from adapters.loader.memory import Memory, Remembered
from adapters.loader.places import Places
from adapters.loader.settings import LoaderSettings
from adapters.loader.supervisor import Presence, Supervisor
from adapters.storage.disk import tidy

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Job:
    #: Once set, the job changes the server's repository: it is undone, not cancelled.
    committed: bool = False
    #: The job is about to ask the server whether the copy is there.
    verifying: bool = False
    task: asyncio.Task[None] | None = None

    def commit(self) -> None:
        self.committed = True


class Loader:
    """Loads and unloads copies as the ledger says. Commands may come only while `run` runs."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        places: Places,
        store: ModelStore,
        server: ModelServer,
        presence: Presence,
        planner: Planner,
        remembered: Remembered,
        settings: LoaderSettings,
    ) -> None:
        self._ledger = ledger
        self._places = places
        self._server = server
        self._memory = Memory(places.ledger, ledger.changes)
        self._installer = Installer(ledger, places, server, self._memory, settings)
        self._failures = Failures(ledger, store, settings.recheck_s)
        self._attempts = Attempts(ledger, places, store, planner, self._installer, self._failures, settings)
        self._supervisor = Supervisor(
            ledger,
            places,
            server,
            presence,
            self._memory,
            remembered,
            settings,
            succeeded=self._installer.succeeded,
            abandon=self._abandon,
        )
        #: The latest job of each copy.
        self._jobs: dict[CopyKey, _Job] = {}
        #: All jobs that have not ended.
        self._tasks: set[asyncio.Task[None]] = set()
        #: Loads that begin when the copy's unloading is done.
        self._next: dict[CopyKey, Order] = {}

    async def run(self) -> None:
        """Supervise the server and work off commands, until cancelled. The server's models stay."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._supervisor.run())
                group.create_task(self._failures.run())
                group.create_task(self._memory.run())
                group.create_task(self._installer.run())
                group.create_task(self._mend())
        finally:
            await self._cancel_all()

    async def remember(self) -> None:
        """Save the epoch, the boot and the serving copies to disk."""
        await self._memory.save()

    async def met(self) -> None:
        """Return once the ledger reflects what the server really holds; from then on at once."""
        await self._supervisor.met.wait()

    def busy_s(self) -> float:
        """For how many seconds the server may take for what it loads and unloads now; 0 if that is nothing."""
        return self._installer.busy_s

    def load(self, order: Order) -> None:
        """A Load command that passed the fence."""
        key = order.key
        admission, ticket = self._ledger.load(key)
        match admission:
            case Admission.START:
                self._failures.forget(key)
                self._begin(key, partial(self._attempt, ticket, order))
            case Admission.VERIFY:
                job = self._jobs.get(key)
                if job is None or not job.verifying:
                    self._begin(key, partial(self._verify, ticket, order), verifying=True)
            case Admission.JOINED:
                if order.urgent:
                    self._attempts.hurry(key)
            case Admission.QUEUED:
                self._next[key] = order
                if key not in self._jobs:
                    # The rest of the copy is being removed by the job of another revision.
                    self._begin(key, partial(self._clear, key))

    def unload(self, key: CopyKey) -> None:
        """An Unload command that passed the fence."""
        self._next.pop(key, None)
        self._failures.forget(key)
        if self._ledger.unload(key) is Departure.BEGIN:
            job = self._jobs.get(key)
            if job is not None and job.task is not None and not job.committed:
                job.task.cancel()
            self._begin(key, partial(self._unload, key))

    def _begin(self, key: CopyKey, work: Callable[[_Job], Awaitable[None]], *, verifying: bool = False) -> None:
        previous = self._jobs.get(key)
        job = _Job(verifying=verifying)
        task = asyncio.create_task(self._run_job(job, previous, work), name=f"{key.model} {key.revision}")
        job.task = task
        self._jobs[key] = job
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, key, job))

    async def _run_job(self, job: _Job, previous: _Job | None, work: Callable[[_Job], Awaitable[None]]) -> None:
        if previous is not None and previous.task is not None:
            await asyncio.wait([previous.task])
        await work(job)

    def _ended(self, key: CopyKey, job: _Job, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug. The place is logged but not the text, which may hold anything.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("job_failed", trained_model=key.model, error=type(error).__name__, where=where)
        if self._jobs.get(key) is job:
            del self._jobs[key]
            order = self._next.pop(key, None)
            if order is not None:
                self.load(order)

    async def _attempt(self, ticket: Ticket, order: Order, job: _Job) -> None:
        try:
            await self._attempts.run(ticket, order, job.commit)
        except Exception as error:
            message = f"{order.source.uri}: internal error of the adapter ({type(error).__name__})"
            self._ledger.fail(ticket, Failure(reason=Reason.MODEL_LOAD_FAILED, message=message))
            raise

    async def _verify(self, ticket: Ticket, order: Order, job: _Job) -> None:
        """The ledger has the copy as loaded; ask the server whether it is."""
        job.verifying = False
        try:
            if await self._server.is_loaded(ticket.key.model):
                return
        except ServerError:
            return  # no answer proves nothing
        renewed = self._ledger.missing(ticket)
        if renewed is None:
            return
        log.warning("copy_missing", trained_model=ticket.key.model, revision=ticket.key.revision)
        await self._installer.clear_missing(ticket.key.model)
        await self._attempt(renewed, order, job)

    async def _mend(self) -> Never:
        """Have the server load models again that broke in it by themselves."""
        while True:
            model = await self._server.ailing()
            # Before that it is not known which copy the model is.
            await self._supervisor.ready.wait()
            key = self._ledger.holder(model)
            if key is not None:
                self._begin(key, partial(self._renew, key))

    async def _renew(self, key: CopyKey, job: _Job) -> None:
        await self._installer.renew(key, job.commit)

    async def _clear(self, key: CopyKey, _: _Job) -> None:
        await self._installer.clear_missing(key.model)

    async def _unload(self, key: CopyKey, _: _Job) -> None:
        await self._installer.uninstall(key)

    async def _abandon(self) -> None:
        """The server is gone: end its jobs and remove its files."""
        self._failures.clear()
        self._installer.forget()
        await self._cancel_all()
        await tidy(self._places.sweep, frozenset())

    async def _cancel_all(self) -> None:
        self._next.clear()
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

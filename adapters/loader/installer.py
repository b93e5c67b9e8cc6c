"""
Putting a laid-out model into the server, in place of another revision if there is one.

The old files step aside, the new ones take their place, the server loads. Both
servers load the new before they drop the old, so requests are answered
throughout. If the load fails the old files come back and are loaded again: a
good version is never lost to a bad one. Only what the server confirmed is
reported, and bytes are let go only once it confirmed that they are free.

The old files stay aside, with a note that names their successor, until the
ledger's file has the successor as what serves: an adapter that restarts before
that would otherwise take the new files for the old revision. On a full disk the
ledger's file cannot be written; then the old files stay where they are, and no
third revision is installed.

Of one model one job runs at a time. Once its files begin to move, a job is not
cancelled any more, but undone; only the end of the server or of the adapter
itself cancels it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Never

import structlog

from adapters.domain.copies import CopyKey, CopyState, Failure, Order, Reason
from adapters.domain.errors import NO_REASON, ServerError, ServerGone
from adapters.domain.ports import ModelServer
from adapters.domain.progress import Ticket
from adapters.domain.relapses import Relapses
from adapters.domain.texts import clean, scrub
from adapters.ledger import Ledger
from adapters.loader.memory import Memory, render_copy
from adapters.loader.places import Places
from adapters.loader.settings import LoaderSettings
from adapters.loader.turns import Locks, Turns
from adapters.storage.disk import in_thread, remove, tidy
from adapters.storage.mishaps import disk_failure

log = structlog.get_logger(__name__)

#: How long a failed connection may take to be recognised as a lost server, which ends the job.
_LOSS_S: Final = 10.0
_RESTORE_TRIES: Final = 3
_BACKOFF_S: Final = (0.25, 30.0)


class Installer:
    """Loads, replaces and unloads."""

    def __init__(
        self, ledger: Ledger, places: Places, server: ModelServer, memory: Memory, settings: LoaderSettings
    ) -> None:
        self._ledger = ledger
        self._places = places
        self._server = server
        self._memory = memory
        self._settings = settings
        self._locks = Locks()
        self._turns = Turns(settings.loads)
        self._relapses = Relapses()
        #: Model → seconds that the server may take for the job of it that is under way.
        self._under_way: dict[str, float] = {}
        #: Model → the copy whose files are aside although its successor serves; and whether there are any.
        self._former: dict[str, CopyKey] = {}
        self._owing = asyncio.Event()

    async def run(self) -> Never:
        """Remove the files of former copies that are aside, once the ledger's file has their successors."""
        while True:
            await self._owing.wait()
            await self._memory.saved.wait()
            for model in tuple(self._former):
                async with self._locks.hold(model):
                    await self._settle(model)
            if not self._former:
                self._owing.clear()

    def succeeded(self, old: CopyKey) -> None:
        """Another copy serves in place of `old`, whose files are still aside."""
        self._former[old.model] = old
        self._owing.set()

    def forget(self) -> None:
        """The server has ended, and what it served with it: all files are removed by the caller."""
        self._former.clear()

    @property
    def busy_s(self) -> float:
        """The longest of the times that the server may take for what is under way in it; 0 if that is nothing."""
        return max(self._under_way.values(), default=0.0)

    def hurry(self, key: CopyKey) -> None:
        """A request waits for this copy now."""
        self._turns.hurry(key)

    async def install(self, ticket: Ticket, order: Order, staged: Path, commit: Callable[[], None]) -> Failure | None:
        """
        Have the server serve `staged`; the outcome is in the ledger.

        `commit` is called when the attempt begins to change what the server sees.
        Returns why it failed; None when it serves, or is no longer wanted.
        """
        model = ticket.key.model
        # A load that the server may have died of has the server for itself: if it dies again, that is the reason.
        alone = self._ledger.suspect(ticket.key)
        async with self._locks.hold(model), self._turns.turn(ticket.key, urgent=order.urgent, alone=alone):
            if not self._ledger.valid(ticket):
                return None
            old = self._ledger.holder(model)
            if old is not None and not self._ledger.later(ticket, old):
                self._ledger.overtaken(ticket)
                log.info("copy_overtaken", trained_model=model, revision=ticket.key.revision, by=old.revision)
                return None
            commit()
            with self._busy(model, order.timeout_s or self._settings.load_s):
                return await self._switch(ticket, order, staged, old)

    async def renew(self, key: CopyKey, commit: Callable[[], None]) -> None:
        """Have the server load a copy again, from the same files, if it cannot answer for it any more."""
        async with self._locks.hold(key.model):
            if not self._ledger.serves(key) or await self._until_told(key.model):
                return
            ticket = self._ledger.renew(key)
            if ticket is None:
                return
            # Written down first: a restarted adapter could not tell that the copy is broken, and would adopt it.
            await self._memory.save()
        wait_s = self._relapses.wait_s(key, time.monotonic())
        log.warning("copy_broken", trained_model=key.model, revision=key.revision, wait_s=wait_s)
        # Meanwhile an update may take its place, or an Unload take it away.
        await asyncio.sleep(wait_s)
        begun = time.monotonic()
        async with self._locks.hold(key.model), self._turns.turn(key, urgent=not wait_s):
            if not self._ledger.valid(ticket) or not self._ledger.serves(key):
                return
            commit()
            with self._busy(key.model, self._settings.load_s):
                if not await self._load_again(ticket, begun):
                    return
            self._relapses.mended(key, wait_s, time.monotonic())
            await self._memory.save()
        log.info("copy_renewed", trained_model=key.model, revision=key.revision, duration_ms=_ms(begun))

    async def _load_again(self, ticket: Ticket, begun: float) -> bool:
        """Whether the server serves a copy again that had broken, from the same files; else nothing of it is left."""
        try:
            await in_thread(self._places.renew, ticket.key.model)
            await self._load(ticket.key.model, self._settings.load_s)
        except (ServerError, OSError) as error:
            message = f"it broke in the server, which could not load it again: {clean(str(error))}"
            failure = Failure(reason=Reason.MODEL_LOAD_FAILED, message=message)
            self._ledger.fail(ticket, failure, keep_reservation=True)
            await self._undo(ticket, None)
            return False
        if not self._ledger.loaded(ticket, time.monotonic() - begun):
            await self._undo(ticket, None)
            return False
        return True

    async def uninstall(self, key: CopyKey) -> None:
        """Have the server drop the copy, remove its files, let go of its bytes. Does not give up."""
        begun = time.monotonic()
        async with self._locks.hold(key.model):
            if self._ledger.serves(key):
                # Written down first: a restarted adapter must not adopt a copy that is on its way out.
                await self._memory.save()
                with self._busy(key.model):
                    await self._clear(key.model)
            self._ledger.gone(key)
            await self._settle(key.model)
        log.info("copy_unloaded", trained_model=key.model, revision=key.revision, duration_ms=_ms(begun))

    async def clear_missing(self, model: str) -> None:
        """Remove what is left of a model that the server does not serve although it should."""
        async with self._locks.hold(model):
            if self._ledger.holder(model) is None:
                with self._busy(model):
                    await self._clear(model)

    async def _switch(self, ticket: Ticket, order: Order, staged: Path, old: CopyKey | None) -> Failure | None:
        model = ticket.key.model
        begun = time.monotonic()
        try:
            # The note beside files that are aside has room for one successor: an earlier switch is settled first.
            if (old is not None or model in self._former) and (problem := await self._settle(model)) is not None:
                raise problem
            if old is not None:
                successor = self._ledger.copy(ticket.key)
                assert successor is not None
                await in_thread(self._places.put_aside, old, render_copy(successor))
            await in_thread(self._places.place, staged, model, old)
            self._ledger.exposed(ticket, self._blame(order))
            await self._load(model, order.timeout_s or self._settings.load_s)
        except (ServerError, OSError) as error:
            failure = self._failure(order, error)
            self._ledger.fail(ticket, failure, keep_reservation=True)
            await self._undo(ticket, old)
            return failure
        if not self._ledger.loaded(ticket, time.monotonic() - begun, old):
            await self._undo(ticket, old, taken=True)
            return None
        if old is not None:
            self.succeeded(old)
        # Once this is written a restarted adapter adopts the new copy; before that it has to ask which of the two serves.
        await self._settle(model)
        log.info(
            "copy_loaded",
            trained_model=model,
            revision=ticket.key.revision,
            replaced=old.revision if old else None,
            duration_ms=_ms(begun),
        )
        return None

    async def _undo(self, ticket: Ticket, old: CopyKey | None, *, taken: bool = False) -> None:
        """
        Restore what served before, if anything did, and release the attempt's bytes.

        `taken`: the server has loaded the attempt's files, and so does not serve the old ones any more.
        """
        held = self._ledger.copy(old) if old else None
        # An old copy in state LOADING broke, and waits to be loaded again (`renew`).
        if old is not None and held is not None and held.state in {CopyState.LOADED, CopyState.LOADING}:
            await self._restore(old, taken)
        else:
            await self._clear(ticket.key.model)
            if old is not None:
                await self._drop_aside(old)
        self._ledger.release(ticket)

    async def _settle(self, model: str) -> OSError | None:
        """Write down what serves, then remove the former copy's files. Returns why it could not be written."""
        problem = await self._memory.save()
        if problem is None and (former := self._former.pop(model, None)) is not None:
            await self._drop_aside(former)
        return problem

    async def _drop_aside(self, old: CopyKey) -> None:
        # May fail: a process of the former copy that has not ended yet may write into its directory.
        await tidy(self._places.drop_aside, old)

    async def _restore(self, old: CopyKey, taken: bool) -> None:
        if not self._places.aside(old).exists() and self._places.model(old.model).exists():
            await self._drop_aside(old)
            return  # The files never moved, and the server was not asked to load anything.
        for attempt in range(_RESTORE_TRIES):
            await asyncio.sleep(_BACKOFF_S[0] * attempt)
            try:
                if self._places.aside(old).exists():
                    await in_thread(self._places.put_back, old)
                await self._load(old.model, self._settings.load_s)
            except (ServerError, OSError) as error:
                problem = str(error)
                log.warning(
                    "copy_not_restored",
                    trained_model=old.model,
                    revision=old.revision,
                    attempt=attempt,
                    problem=problem,
                )
            else:
                # Files that are aside tell a restarted adapter that it is not known what the server has: it is now.
                await self._drop_aside(old)
                log.info("copy_restored", trained_model=old.model, revision=old.revision)
                return
        # The server may still serve the old copy from memory. If it has taken the attempt's, it serves that.
        if not taken and await self._still_serves(old.model):
            await self._drop_aside(old)
            return
        failure = Failure(
            reason=Reason.MODEL_LOAD_FAILED,
            message="after a failed update the server could not load the former revision again",
        )
        ticket = self._ledger.broken(old, failure)
        await self._memory.save()
        await self._clear(old.model)
        await self._drop_aside(old)
        if ticket is not None:
            self._ledger.release(ticket)

    async def _until_told(self, model: str) -> bool:
        """Whether the server has the model. Waits while the server does not answer; if it ends this job is cancelled."""
        while True:
            try:
                return await self._server.is_loaded(model)
            except ServerError:
                await asyncio.sleep(_BACKOFF_S[0])

    async def _still_serves(self, model: str) -> bool:
        try:
            return await self._server.is_loaded(model)
        except ServerError:
            return False

    @contextmanager
    def _busy(self, model: str, load_s: float = 0.0) -> Iterator[None]:
        """The server has to do with the model; what it loads may have to be unloaded again."""
        self._under_way[model] = load_s + self._settings.unload_s
        try:
            yield
        finally:
            del self._under_way[model]

    async def _load(self, model: str, timeout_s: float) -> None:
        try:
            await self._server.load(model, timeout_s)
        except ServerGone:
            # If the server died this job is cancelled within that time: a death is not this model's failure.
            await asyncio.sleep(_LOSS_S)
            raise

    async def _clear(self, model: str) -> None:
        """Unload, until the server confirms, and remove the files."""
        backoff = _BACKOFF_S[0]
        while True:
            try:
                await self._server.unload(model, self._settings.unload_s)
                await in_thread(remove, self._places.model(model))
            except (ServerError, OSError) as error:
                log.warning("unload_failed", trained_model=model, problem=clean(str(error)), retry_s=round(backoff, 2))
            else:
                return
            await asyncio.sleep(backoff * random.uniform(0.8, 1.2))
            backoff = min(2 * backoff, _BACKOFF_S[1])

    def _blame(self, order: Order) -> Failure:
        settings = self._settings
        text = (
            f"{settings.runtime} ({settings.server_type}) died while it loaded this {order.source.framework} model "
            f"from {order.source.uri}; see {self._log()} of that time"
        )
        return Failure(reason=Reason.MODEL_LOAD_FAILED, message=clean(scrub(text, order.credentials)), crashed=True)

    def _failure(self, order: Order, error: ServerError | OSError) -> Failure:
        settings = self._settings
        if isinstance(error, OSError):
            return disk_failure(order.source, error).failure
        said = str(error)
        for path in (str(self._places.model(order.key.model)), str(self._places.models), str(self._places.scratch)):
            said = said.replace(path + "/", "").replace(path, "")
        # Triton ends lists of one with semicolons.
        said = said.rstrip("; ")
        if said == NO_REASON:
            said = f"{said}; see {self._log()}"
        else:
            # MLServer's text may be a bare word: of a file that is no pickle it says the KeyError's, "8".
            words = said if " " in said.strip() else f"it says '{said}'"
            said = f"{words}; more in {self._log()}"
        text = (
            f"{settings.runtime} ({settings.server_type}) could not load this {order.source.framework} model "
            f"from {order.source.uri}: {said}"
        )
        return Failure(reason=Reason.MODEL_LOAD_FAILED, message=clean(scrub(text, order.credentials)))

    def _log(self) -> str:
        return f"its log ({self._settings.server_log})" if self._settings.server_log else "its log"


def _ms(begun: float) -> int:
    return round(1000 * (time.monotonic() - begun))

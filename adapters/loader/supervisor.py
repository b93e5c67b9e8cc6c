"""
The life of the server beside the adapter: boot after boot.

A boot lasts as long as one connection. At its beginning the server is made to
hold exactly the copies in the ledger: copies that a restarted adapter remembers
and the server still serves are adopted, all others are unloaded and their files
removed. When the connection drops, all copies of that boot are gone at once.

An adapter that was restarted beside a running server does not know at first what
the server holds, and must not report that it holds nothing: until `met` is set no
report is sent. A server that does not answer within MEETING_S counts as gone. One
that answers counts as serving, even if it takes longer to find out which copies.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol

import structlog

from adapters.domain.copies import Copy, CopyKey, ServerState
from adapters.domain.errors import ServerError
from adapters.domain.ports import ModelServer
from adapters.ledger import Ledger
from adapters.loader.memory import Memory, Remembered, parse_copy
from adapters.loader.places import Places
from adapters.loader.settings import LoaderSettings
from adapters.storage.disk import in_thread

log = structlog.get_logger(__name__)

_RETRY_S: Final = (0.1, 5.0)
#: A server that is up answers within this, a busy one too.
MEETING_S: Final = 10.0


class Presence(Protocol):
    """Watches whether the server is there."""

    async def appeared(self) -> None:
        """Return when the server answers on a new connection."""

    async def lost(self) -> None:
        """Return when that connection drops."""


class Supervisor:
    """Tells the ledger when the server comes and goes."""

    def __init__(
        self,
        ledger: Ledger,
        places: Places,
        server: ModelServer,
        presence: Presence,
        memory: Memory,
        remembered: Remembered,
        settings: LoaderSettings,
        *,
        succeeded: Callable[[CopyKey], None],
        abandon: Callable[[], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._places = places
        self._server = server
        self._presence = presence
        self._memory = memory
        self._remembered = remembered
        self._settings = settings
        self._succeed = succeeded
        self._abandon = abandon
        #: Copies whose successors were found to serve: their files aside are kept until that is saved to disk.
        self._succeeded: list[CopyKey] = []
        #: Set once the ledger reflects what the server really holds.
        self.met = asyncio.Event()
        #: Timer that sets `met`, unless the server answers before.
        self._patience: asyncio.TimerHandle | None = None
        #: Set while the ledger has the server as ready.
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Supervise for ever."""
        if not self._remembered.copies:
            self.met.set()
        self._patience = asyncio.get_running_loop().call_later(MEETING_S, self.met.set)
        while True:
            await self._boot()

    async def _boot(self) -> None:
        await self._presence.appeared()
        if self._patience is not None:
            # A load that decides an interrupted switch may take long, and the server serves its other models meanwhile.
            self._patience.cancel()
        lost = asyncio.create_task(self._presence.lost())
        settling = asyncio.create_task(self._settle())
        try:
            await asyncio.wait({lost, settling}, return_when=asyncio.FIRST_COMPLETED)
            if settling.done():
                await settling
                await lost
        finally:
            lost.cancel()
            settling.cancel()
            await asyncio.wait({lost, settling})
        # The copies that an earlier adapter remembered were in a server that is gone.
        self._remembered = Remembered()
        self._succeeded.clear()
        self.met.set()
        if self._ledger.server is ServerState.READY:
            self.ready.clear()
            self._ledger.server_lost()
            log.warning("server_lost", runtime=self._settings.runtime, boot=self._ledger.boot)
            await self._abandon()
            await self._memory.save()

    async def _settle(self) -> None:
        """Declare the server ready once it holds exactly the copies in the ledger, however long that takes."""
        begun = time.monotonic()
        adopted = await self._agree()
        kept = self._remembered.copies
        # All remembered models are still there, so this is the server of the remembered boot.
        same = bool(kept) and len(adopted) == len(kept)
        boot = self._remembered.boot if same else uuid.uuid4().hex
        self._ledger.server_ready(boot, adopted)
        while self._succeeded:
            self._succeed(self._succeeded.pop())
        self.ready.set()
        self.met.set()
        await self._memory.save()
        log.info(
            "server_ready",
            runtime=self._settings.runtime,
            boot=boot,
            adopted=len(adopted),
            duration_ms=round(1000 * (time.monotonic() - begun)),
        )

    async def _agree(self) -> tuple[Copy, ...]:
        retry_s = _RETRY_S[0]
        while True:
            try:
                return await self._reconcile()
            except (ServerError, OSError) as error:
                log.warning("server_not_settled", runtime=self._settings.runtime, problem=str(error), retry_s=retry_s)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _RETRY_S[1])

    async def _reconcile(self) -> tuple[Copy, ...]:
        """Adopt remembered copies, unload other models and remove their files; returns the adopted copies."""
        present = await self._server.loaded_models()
        adopted: list[Copy] = []
        room = self._settings.capacity_bytes
        for copy in self._remembered.copies:
            served = await self._served(copy, present)
            if served is not None and served.reserved <= room:
                adopted.append(served)
                room -= served.reserved
        names = frozenset(copy.key.model for copy in adopted)
        for stray in sorted(present - names):
            log.info("stray_unloaded", trained_model=stray)
            await self._server.unload(stray, self._settings.unload_s)
        await in_thread(self._places.sweep, names, self._succeeded)
        return tuple(adopted)

    async def _served(self, copy: Copy, present: frozenset[str]) -> Copy | None:
        """The copy that the server has in the place of a remembered one: the same, its successor, or none."""
        if self._places.aside(copy.key).exists() or self._places.successor(copy.key).exists():
            # The adapter died while a successor was tried or taken back: either of the two may serve.
            return await self._decided(copy)
        there = copy.key.model in present and self._places.model(copy.key.model).exists()
        return copy if there else None

    async def _decided(self, copy: Copy) -> Copy | None:
        """
        Decide between a copy and its successor: the server loads one of them, which is returned; None if neither loads.

        The successor if the server loads it: it may have begun to answer, and then the former must not come back. The
        former copy if it was being put back, or if there is no telling which files are whose.
        """
        model = copy.key.model
        there = self._places.model(model).exists()
        # `renew`: Triton would do nothing for files that it has loaded already, and its processes would not be watched.
        if self._places.aside(copy.key).exists():
            successor = await in_thread(self._noted, copy.key)
            if successor is not None and there:
                await in_thread(self._places.renew, model)
                if await self._loads(model):
                    copies = tuple(successor if each is copy else each for each in self._remembered.copies)
                    self._remembered = replace(self._remembered, copies=copies)
                    self._succeeded.append(copy.key)
                    return successor
            await in_thread(self._places.put_back, copy.key)
        elif there:
            await in_thread(self._places.renew, model)
        else:
            return None
        if not await self._loads(model):
            return None
        await in_thread(self._places.drop_aside, copy.key)
        return copy

    def _noted(self, key: CopyKey) -> Copy | None:
        try:
            return parse_copy(self._places.successor(key).read_text())
        except (OSError, ValueError):
            return None

    async def _loads(self, model: str) -> bool:
        try:
            await self._server.load(model, self._settings.load_s)
        except ServerError as error:
            log.warning("copy_not_restored", trained_model=model, problem=str(error))
            return False
        return True

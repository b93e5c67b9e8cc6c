"""
Failed copies whose source may be mended.

The source of each failed copy is listed now and then. When it differs from the
listing that failed, the ledger reports that, and the leader tries again at once.
The credentials for this are in memory only, for as long as the failure stands.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import structlog

from adapters.domain.copies import CopyKey, Failure, Order, Reason
from adapters.domain.errors import LoadFailure
from adapters.domain.objects import Listing
from adapters.domain.ports import ModelStore
from adapters.ledger import Ledger

log = structlog.get_logger(__name__)

_MAX_FAILURES: Final = 1000
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failed:
    order: Order
    fingerprint: str


class Failures:
    """Remembers failed attempts and looks at their sources."""

    def __init__(self, ledger: Ledger, store: ModelStore, every_s: float) -> None:
        self._ledger = ledger
        self._store = store
        self._every_s = every_s
        self._failed: OrderedDict[CopyKey, _Failed] = OrderedDict()

    def remember(self, order: Order, failure: Failure, listing: Listing | None) -> None:
        """The attempt failed with this listing, or without any."""
        if failure.reason is Reason.NO_ROOM:
            return  # nothing is wrong with the source
        self._failed[order.key] = _Failed(order=order, fingerprint=_fingerprint(listing or failure))
        while len(self._failed) > _MAX_FAILURES:
            self._failed.popitem(last=False)

    def forget(self, key: CopyKey) -> None:
        """The key is tried again, or no longer wanted."""
        self._failed.pop(key, None)

    def clear(self) -> None:
        """The server is gone: failures that the ledger does not report any more are forgotten."""
        for key in [key for key in self._failed if self._ledger.copy(key) is None]:
            del self._failed[key]

    async def run(self) -> None:
        """Look at all failed sources, for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.look()

    async def look(self) -> None:
        """Look at each failed source once."""
        waiting = list(self._failed.items())
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(waiting))):
                group.create_task(self._work(waiting))

    async def _work(self, waiting: list[tuple[CopyKey, _Failed]]) -> None:
        while waiting:
            key, failed = waiting.pop()
            if self._failed.get(key) is not failed:
                continue
            try:
                now = _fingerprint(await self._store.list(failed.order.source, failed.order.credentials))
            except LoadFailure as error:
                now = _fingerprint(error.failure)
            except Exception as error:  # a bug, whose text may hold anything; the loads go on
                log.warning("recheck_failed", trained_model=key.model, error=type(error).__name__)
                continue
            if now != failed.fingerprint and self._failed.get(key) is failed:
                del self._failed[key]
                log.info("source_changed", trained_model=key.model, revision=key.revision)
                self._ledger.source_changed(key)


def _fingerprint(seen: Listing | Failure) -> str:
    return seen.fingerprint if isinstance(seen, Listing) else f"failed: {seen.reason}"

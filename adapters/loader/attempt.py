"""
One attempt at a copy: list, reserve, download, lay out, install.

Whether the copy fits is decided before the first byte is fetched. Until the
installer commits, an attempt may be cancelled at any point and leaves nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import structlog

from adapters.domain.copies import CopyKey, Failure, Order, Reason
from adapters.domain.errors import LoadFailure, SourceChanged
from adapters.domain.objects import Listing, files, paths
from adapters.domain.ports import ModelStore
from adapters.domain.progress import Ticket
from adapters.layouts.apply import lay_out
from adapters.layouts.plan import Planner, Target
from adapters.ledger import Ledger
from adapters.loader.failures import Failures
from adapters.loader.installer import Installer
from adapters.loader.places import Places
from adapters.loader.settings import LoaderSettings
from adapters.loader.turns import Turns
from adapters.storage.disk import in_thread, remove, tidy
from adapters.storage.mishaps import disk_failure

log = structlog.get_logger(__name__)


class Attempts:
    """Runs attempts, a bounded number of each step at once."""

    def __init__(
        self,
        ledger: Ledger,
        places: Places,
        store: ModelStore,
        planner: Planner,
        installer: Installer,
        failures: Failures,
        settings: LoaderSettings,
    ) -> None:
        self._ledger = ledger
        self._places = places
        self._store = store
        self._planner = planner
        self._installer = installer
        self._failures = failures
        self._settings = settings
        self._listings = Turns(settings.listings)
        self._downloads = Turns(settings.downloads)

    def hurry(self, key: CopyKey) -> None:
        """A request waits for this copy now."""
        self._listings.hurry(key)
        self._downloads.hurry(key)
        self._installer.hurry(key)

    async def run(self, ticket: Ticket, order: Order, commit: Callable[[], None]) -> None:
        """Make the copy; the outcome is in the ledger."""
        listing: Listing | None = None
        failure: Failure | None = None
        staged: Path | None = None
        try:
            staged = await in_thread(self._places.stage)
            listing = await self._list(order)
            listing, model = await self._fetch(ticket, order, listing, staged)
            failure = await self._installer.install(ticket, order, model, commit)
        except LoadFailure as error:
            failure = error.failure
        except OSError as error:
            failure = disk_failure(order.source, error).failure
        except asyncio.CancelledError:
            # If the server died of this load, its source is watched, too: a changed source is worth another try.
            copy = self._ledger.copy(ticket.key)
            if copy is not None and copy.failure is not None and copy.failure.crashed:
                self._failures.remember(order, copy.failure, listing)
            raise
        finally:
            if staged is not None:
                await tidy(remove, staged)
        if failure is None:
            return
        # The installer has already recorded its own failures.
        copy = self._ledger.copy(ticket.key)
        if copy is None or copy.failure != failure:
            self._ledger.fail(ticket, failure)
        if self._ledger.valid(ticket):
            self._failures.remember(order, failure, listing)
            log.warning(
                "copy_failed",
                trained_model=ticket.key.model,
                revision=ticket.key.revision,
                reason=failure.reason.value,
                message=failure.message,
            )

    async def _list(self, order: Order) -> Listing:
        async with self._listings.turn(order.key, urgent=order.urgent, of=order.credentials.endpoint_url):
            return await self._store.list(order.source, order.credentials)

    async def _fetch(self, ticket: Ticket, order: Order, listing: Listing, staged: Path) -> tuple[Listing, Path]:
        """Download and lay out. Returns the listing, unchanged during the download, and the model's directory."""
        begun = time.monotonic()
        patience = order.timeout_s or self._settings.load_s
        for remaining in reversed(range(self._settings.changes)):
            remote = files(listing, order.source.path, order.source.uri)
            self._reserve(ticket, order, listing)
            source = staged / f"source-{remaining}"
            change = ""
            async with self._downloads.turn(order.key, urgent=order.urgent, of=order.credentials.endpoint_url):
                source.mkdir()
                begun = time.monotonic()
                try:
                    await self._store.download(order.source, order.credentials, remote, source, patience)
                except SourceChanged as error:
                    change = str(error)
            if not change and listing.single:
                break
            # Each object was as listed when it was read; only a second listing tells whether they belong together.
            latest = await self._list(order)
            if not change and latest.fingerprint == listing.fingerprint:
                break
            listing = latest
            await in_thread(remove, source)
            if not remaining:
                change = change or "objects came, went or changed while they were read"
                raise LoadFailure.because(Reason.STORAGE_UNAVAILABLE, f"{order.source.uri}: {change}, again and again")
        else:
            raise AssertionError("the last try breaks or raises")
        seconds = time.monotonic() - begun
        model = staged / "model"
        target = Target(
            name=order.key.model,
            framework=order.source.framework,
            directory=PurePosixPath(self._places.model(order.key.model)),
            uri=order.source.uri,
        )
        await in_thread(lay_out, self._planner, source, paths(remote), model, target)
        if self._ledger.downloaded(ticket, listing.size, seconds):
            log.info(
                "copy_downloaded",
                trained_model=order.key.model,
                revision=order.key.revision,
                objects=len(remote),
                bytes=listing.size,
                duration_ms=round(1000 * seconds),
            )
        return listing, model

    def _reserve(self, ticket: Ticket, order: Order, listing: Listing) -> None:
        settings = self._settings
        needed = order.reserve or max(int(listing.size * settings.size_factor), settings.least_reserve)
        failure = self._ledger.reserve(ticket, needed)
        if failure is None:
            return
        advice = ""
        if failure.reason is Reason.MODEL_TOO_LARGE:
            advice = f"; give the runtime {settings.runtime} more memory or bring a smaller model"
        raise LoadFailure(replace(failure, message=f"{order.source.uri}: {failure.message}{advice}"))

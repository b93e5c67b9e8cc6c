"""
What the API server has of one kind, followed: a list, then its changes, for ever.

The rules are those of client-go's reflector, with one difference: the first
list asks for the newest state (no version) and not for any (version 0), which
after a failover of the API server may be older than what an earlier process
has acted on. A list again asks for what is at least as new as what was seen,
and for the newest where that version is gone.

A watch that ends or breaks is taken up again from the last version that was
seen; only where the server says that this version is gone, or says something
else that is no passing trouble, is there a list again. A list that fails, or
only half arrives, is never delivered: whoever deletes what is missing in a
list must not be shown one that is not whole.

Not promised: each state of an object. What is delivered ends at the last one.
A version of the future, as after a restore of etcd from a backup, is noticed by
the next list only; the documentation of such restores has controllers restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Never

import structlog

from orchestrator.domain.errors import surprise
from orchestrator.machinery.backoff import Backoff
from orchestrator.platform.kube.answers import (
    ApiError,
    ApiUnreachable,
    Raw,
    error_of_status,
    has_name,
    unreadable,
)
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.objects import version_of

log = structlog.get_logger(__name__)

#: How long the server may let a watch last: by its own choice it would be up to an hour.
_WATCH_S: Final = (300, 600)
#: A watch that lasted so long had not failed.
_STABLE_S: Final = 10.0
_CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})


class Reflector:
    """
    One path, list and watch. `run` once.

    Law: what was delivered, folded (a list replaces everything, an event one
    object), is at each moment a state that the server had, and never goes back.
    """

    def __init__(
        self,
        api: KubeApi,
        path: str,
        *,
        on_list: Callable[[list[Raw]], None],
        on_event: Callable[[str, Raw], None],
        clock: Callable[[], float],
        random: Callable[[], float],
        field_selector: str = "",
        label_selector: str = "",
        read: Callable[[Raw], object] = lambda _: None,
        on_refused: Callable[[str], None] = lambda _: None,
        backoff_s: tuple[float, float] = (0.5, 10.0),
    ) -> None:
        """
        `clock` is monotonic, `random` gives [0, 1). What the callbacks raise ends `run`.

        `read` tries each object by itself, before it is delivered. One at which it raises is delivered as `unreadable`:
        nobody may end of it, nor take it for gone.

        `on_refused` is told what the server says for as long as somebody has to mend it (a right that is missing),
        and "" when it is followed again.
        """
        self._api = api
        self._path = path
        self._on_list = on_list
        self._on_event = on_event
        self._read = read
        self._on_refused = on_refused
        self._clock = clock
        self._random = random
        selectors = {"fieldSelector": field_selector, "labelSelector": label_selector}
        self._selectors = {key: value for key, value in selectors.items() if value}
        self._backoff = Backoff(*backoff_s, random)
        #: Set by the first list, for good.
        self.synced: Final = asyncio.Event()
        #: The last version that was seen; empty: none that the server still has.
        self._version = ""
        #: Whether a list was delivered that the version goes on from.
        self._listed = False
        #: When this round's watch was there.
        self._since: float | None = None
        #: Since when there is no watch, where that was said.
        self._lost_at: float | None = None
        #: What was last told of a refusal.
        self._refusal = ""
        #: Why there is to be a list again; empty: there is not.
        self._again = ""
        #: When the last list that was delivered had been asked for.
        self._asked_at = float("-inf")
        #: Around all that `run` waits for; whether the newest state is to be listed, and what is set once that is over.
        self._waits: asyncio.Timeout | None = None
        self._renewing = False
        self._renewed = asyncio.Event()

    async def run(self) -> Never:
        """Until cancelled."""
        while True:
            self._waits = waits = asyncio.timeout(None)
            try:
                async with waits:
                    await self._round_and_pause()
            except TimeoutError:
                if not waits.expired():
                    raise
                # By `renew`.
                self._again = self._again or "a term begins"
                self._backoff.reset()

    async def renew(self, within_s: float) -> None:
        """
        Return once the newest state has been listed, now or within the last seconds; or the server refuses to list it.

        A watch cannot say how old what it has shown is: it may be about to be taken up again, or its connection may be
        dead. Of a server that fails at the list a watch that was begun anew has to do. While `run` runs.
        """
        await self.synced.wait()
        if self._clock() - self._asked_at <= within_s:
            return
        self._renewing = True
        self._renewed.clear()
        if self._waits is not None and not self._waits.expired():
            self._waits.reschedule(asyncio.get_running_loop().time())
        await self._renewed.wait()

    async def _round_and_pause(self) -> None:
        self._since = None
        wanted_s = 0.0
        try:
            await self._round()
        except ApiUnreachable as error:
            self._lost(str(error))
        except ApiError as error:
            # Trouble that passes leaves the version good; a list again is right after all else.
            if error.expired or not error.passing:
                self._forget(str(error))
            self._lost(str(error))
            if not (error.expired or error.passing):
                self._refused(error.message)
                self._done_renewing()
            wanted_s = error.retry_after_s or 0.0
        await asyncio.sleep(max(wanted_s, self._backoff.after(self._lasted_s(), _STABLE_S)))

    async def _round(self) -> None:
        """A list if one is needed, and one watch up to its end."""
        if self._renewing:
            await self._list_newest()
        if self._listed:
            try:
                await self._watch()
            except ApiError as error:
                if not error.expired:
                    raise
                # The server is there, and only the version is not: that is no reason to wait any longer. Of a version
                # that a list has just given it would be.
                self._lost(str(error))
                self._forget(str(error))
            else:
                return
        await self._list()
        await self._watch()

    async def _list_newest(self) -> None:
        """For `renew`. Trouble that passes is the watch's to tell, which is next: what it shows may be all there is."""
        try:
            await self._list(newest=True)
        except (ApiUnreachable, ApiError) as error:
            if isinstance(error, ApiError) and not error.passing:
                raise
            log.info("watch_not_listed_again", path=self._path, problem=str(error))

    def _done_renewing(self) -> None:
        self._renewing = False
        self._renewed.set()

    def _forget(self, why: str) -> None:
        """The version is not to be followed any further."""
        self._listed = False
        self._again = self._again or why

    async def _list(self, *, newest: bool = False) -> None:
        """Of at least what was seen, or of the newest state there is."""
        asked_at = self._clock()
        try:
            result = await self._api.list(self._path, self._selectors | _not_older("" if newest else self._version))
        except ApiError as error:
            if not (self._version and error.expired):
                raise
            self._version = ""
            result = await self._api.list(self._path, self._selectors)
        self._on_list([self._readable(raw) for raw in result.items])
        self._version = result.resource_version
        self._listed = True
        if self.synced.is_set():
            log.info("watch_listed_again", path=self._path, problem=self._again)
        self._again = ""
        self._asked_at = asked_at
        self.synced.set()
        self._done_renewing()

    async def _watch(self) -> None:
        query = {
            **self._selectors,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(round(_WATCH_S[0] + (_WATCH_S[1] - _WATCH_S[0]) * self._random())),
        }
        async with self._api.watch(self._path, query) as events:
            self._since = self._clock()
            self._done_renewing()
            if self._lost_at is not None:
                log.info("watch_restored", path=self._path, lasted_s=round(self._clock() - self._lost_at, 1))
                self._lost_at = None
            self._refused("")
            async for event in events:
                self._take(event["type"], event["object"])

    def _take(self, kind: str, raw: dict[str, Any]) -> None:
        if kind == "ERROR":
            # Whatever it is: the same version might have it said again.
            self._listed = False
            raise error_of_status(raw)
        version = version_of(raw)
        if kind in _CHANGES and has_name(raw):
            self._on_event(kind, raw if kind == "DELETED" else self._readable(raw))
        elif kind != "BOOKMARK":
            log.warning("watch_event_ignored", path=self._path, type=kind, kind=raw.get("kind"))
        # After the delivery: what was not delivered is asked for again.
        if version not in {"", "0"}:
            self._version = version

    def _readable(self, raw: Raw) -> Raw:
        try:
            self._read(raw)
        except Exception as error:
            name, problem = raw["metadata"]["name"], surprise(error)
            log.warning("object_unreadable", kind=raw.get("kind"), name=name, version=version_of(raw), problem=problem)
            return unreadable(raw, problem)
        return raw

    def _lasted_s(self) -> float:
        return 0.0 if self._since is None else self._clock() - self._since

    def _lost(self, problem: str) -> None:
        if self._lost_at is None:
            self._lost_at = self._clock()
            log.warning("watch_lost", path=self._path, problem=problem, list_again=not self._listed)

    def _refused(self, problem: str) -> None:
        if problem == self._refusal:
            return
        self._refusal = problem
        if problem:
            log.error("watch_refused", path=self._path, problem=problem)
        self._on_refused(problem)


def _not_older(version: str) -> dict[str, str]:
    """Said in full: beside a limit a bare version means exactly this one."""
    return {"resourceVersion": version, "resourceVersionMatch": "NotOlderThan"} if version else {}

"""
Events on objects: what `kubectl describe` lists.

Of core/v1, whose fields every version of kubectl shows. As client-go's recorder
does it: an event that comes again raises the count of the same object instead
of making another, and an object about which too much is said is cut short. A
recorder never waits and never fails: what does not fit into its queue, or meets
an API server that refuses it, is lost, and that is said once.

Not promised: that a leader goes on counting where the one before it left off.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Never

import structlog

from orchestrator.domain.trained_model import API_VERSION, KIND
from orchestrator.machinery.backoff import Backoff
from orchestrator.platform.event_log import EventLog
from orchestrator.platform.kube.answers import ApiError, ApiUnreachable, Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.names import ORCHESTRATOR_NAME
from orchestrator.platform.kube.paths import core

log = structlog.get_logger(__name__)

#: Events that wait to be written.
QUEUE: Final = 1000
#: Events that are counted on, and objects whose rate is known.
MEMORY: Final = 4096
#: About one object: so many at once, and then one in so many seconds. client-go's numbers.
BURST: Final = 25
REFILL_S: Final = 300.0
#: The API server takes no more, bytes.
MESSAGE_LIMIT: Final = 1024
_NAME_LIMIT: Final = 230


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The object that an event is about."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(slots=True, kw_only=True)
class _Entry:
    """One Event object, as it is to be, and how much of that is stored."""

    about: Reference
    warning: bool
    reason: str
    message: str
    first: str
    last: str
    suffix: str
    count: int = 1
    stored: int = 0


_Key = tuple[Reference, bool, str, str]


class Rate:
    """A token bucket for each key; the least recently used are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, key: object) -> bool:
        """Whether there was a token."""
        now = self._clock()
        tokens, at = self._buckets.pop(key, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - at) / REFILL_S)
        self._buckets[key] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > MEMORY:
            self._buckets.popitem(last=False)
        return tokens >= 1


class EventRecorder:
    """Implements ports.Recorder. `run` writes; without it events wait, up to the bound."""

    def __init__(
        self,
        api: KubeApi,
        *,
        namespace: str,
        identity: str,
        timestamp: Callable[[], str],
        new_suffix: Callable[[], str],
        clock: Callable[[], float],
        random: Callable[[], float],
        api_version: str = API_VERSION,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """
        `timestamp` is RFC 3339 in UTC, `new_suffix` makes names unique, `clock` is monotonic.

        What waits when this process does not lead (`leads`) is of a term that is over, and is lost.
        """
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._timestamp = timestamp
        self._new_suffix = new_suffix
        self._backoff = Backoff(0.5, 30.0, random)
        self._api_version = api_version
        self._leads = leads
        self._log = EventLog(timestamp)
        self._rate = Rate(clock)
        self._known: OrderedDict[_Key, _Entry] = OrderedDict()
        self._waiting: OrderedDict[_Key, _Entry] = OrderedDict()
        self._work = asyncio.Event()
        self._lost = 0
        self._away = False

    def event(self, name: str, uid: str, *, warning: bool, reason: str, message: str) -> None:
        """About a TrainedModel; it is in `list` as well."""
        self._log.event(name, uid, warning=warning, reason=reason, message=message)
        about = Reference(api_version=self._api_version, kind=KIND, name=name, uid=uid)
        self.about(about, warning=warning, reason=reason, message=message)

    def list(self, name: str) -> list[dict[str, Any]]:
        """What was recorded about that TrainedModel, newest last."""
        return self._log.list(name)

    def about(self, about: Reference, *, warning: bool, reason: str, message: str) -> None:
        """About any object of the namespace."""
        message = message.encode()[:MESSAGE_LIMIT].decode(errors="ignore")
        key = (about, warning, reason, message)
        now = self._timestamp()
        entry = self._known.pop(key, None)
        if entry is None:
            entry = _Entry(
                about=about,
                warning=warning,
                reason=reason,
                message=message,
                first=now,
                last=now,
                suffix=self._new_suffix(),
            )
        else:
            entry.count, entry.last = entry.count + 1, now
        self._known[key] = entry
        if len(self._known) > MEMORY:
            self._known.popitem(last=False)
        if key in self._waiting or not self._rate.take(about):
            return
        if len(self._waiting) >= QUEUE:
            self._lose("the queue is full")
            return
        self._waiting[key] = entry
        self._work.set()

    async def run(self) -> Never:
        """Write them, until cancelled."""
        while True:
            while self._waiting:
                await self._write(*next(iter(self._waiting.items())))
            self._work.clear()
            await self._work.wait()

    async def _write(self, key: _Key, entry: _Entry) -> None:
        if not self._leads():
            del self._waiting[key]
            self._lose("this process does not lead any more")
            return
        count = entry.count
        try:
            await self._send(entry)
        except (ApiUnreachable, ApiError) as error:
            if isinstance(error, ApiUnreachable) or error.passing:
                if not self._away:
                    self._away = True
                    log.info("events_wait", problem=str(error))
                await asyncio.sleep(self._backoff.next())
                return
            self._lose(str(error))
        else:
            entry.stored = count
            self._away = False
            self._backoff.reset()
            if self._lost:
                log.info("events_were_lost", count=self._lost)
                self._lost = 0
        if entry.count == count:
            del self._waiting[key]

    async def _send(self, entry: _Entry) -> None:
        raw = render(entry, self._namespace, self._identity)
        if entry.stored:
            path = core("events", self._namespace, raw["metadata"]["name"])
            try:
                await self._api.merge(path, {"count": raw["count"], "lastTimestamp": raw["lastTimestamp"]})
                return
            except ApiError as error:
                if error.status != 404:
                    raise
                # The server keeps them for an hour.
        await self._api.create(core("events", self._namespace), raw)

    def _lose(self, problem: str) -> None:
        if not self._lost:
            log.info("event_lost", problem=problem)
        self._lost += 1


def render(entry: _Entry, namespace: str, identity: str) -> Raw:
    """The Event object."""
    about = entry.about
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name[:_NAME_LIMIT].rstrip('.-')}.{entry.suffix}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "name": about.name,
            "namespace": namespace,
            "uid": about.uid,
        },
        "type": "Warning" if entry.warning else "Normal",
        "reason": entry.reason,
        "message": entry.message,
        "count": entry.count,
        "firstTimestamp": entry.first,
        "lastTimestamp": entry.last,
        "source": {"component": ORCHESTRATOR_NAME},
        "reportingComponent": ORCHESTRATOR_NAME,
        "reportingInstance": identity,
    }

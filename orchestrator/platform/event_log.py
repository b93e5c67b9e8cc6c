"""
Events of models, for `describe`: the last few of each, in memory.

An event that comes again raises a count instead of taking a place, as in a
cluster. Bounded in events and in models; nothing is written to disk, so that a
restarted controller begins an empty page.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

PER_MODEL: Final = 20
MODELS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of `describe`. Times are RFC 3339, UTC."""

    warning: bool
    reason: str
    message: str
    count: int
    first_seen: str
    last_seen: str

    def render(self) -> dict[str, Any]:
        """As JSON, with the field names of a Kubernetes Event."""
        return {
            "type": "Warning" if self.warning else "Normal",
            "reason": self.reason,
            "message": self.message,
            "count": self.count,
            "firstTimestamp": self.first_seen,
            "lastTimestamp": self.last_seen,
        }


class EventLog:
    """Implements ports.Recorder."""

    def __init__(self, timestamp: Callable[[], str]) -> None:
        """`timestamp` gives the time as it is shown."""
        self._timestamp = timestamp
        #: Name → the uid that the events are of, and the events, oldest first. The last touched model is last.
        self._models: OrderedDict[str, tuple[str, OrderedDict[tuple[bool, str, str], Event]]] = OrderedDict()

    def event(self, name: str, uid: str, *, warning: bool, reason: str, message: str) -> None:
        """Record it; an equal one that comes again raises its count. Another uid begins a new page."""
        known_uid, events = self._models.pop(name, (uid, OrderedDict()))
        if known_uid != uid:
            events = OrderedDict()
        self._models[name] = (uid, events)
        now = self._timestamp()
        key = (warning, reason, message)
        old = events.pop(key, None)
        events[key] = (
            replace(old, count=old.count + 1, last_seen=now)
            if old
            else Event(warning=warning, reason=reason, message=message, count=1, first_seen=now, last_seen=now)
        )
        if len(events) > PER_MODEL:
            events.popitem(last=False)
        if len(self._models) > MODELS:
            self._models.popitem(last=False)

    def list(self, name: str) -> list[dict[str, Any]]:
        """The model's events, newest last."""
        _, events = self._models.get(name, ("", {}))
        return [event.render() for event in events.values()]

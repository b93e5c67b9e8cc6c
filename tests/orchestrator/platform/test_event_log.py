"""What describe lists."""

from __future__ import annotations

from orchestrator.platform.event_log import PER_MODEL, EventLog
from tests.orchestrator.platform.local.support import uids


def test_equal_events_are_counted() -> None:
    """The first time stays, the last time and the place move."""
    events = EventLog(uids())
    for reason in ("A", "B", "A"):
        events.event("m", "u", warning=reason == "A", reason=reason, message="text")
    listed = events.list("m")
    assert [(e["reason"], e["type"], e["count"]) for e in listed] == [("B", "Normal", 1), ("A", "Warning", 2)]
    assert (listed[1]["firstTimestamp"], listed[1]["lastTimestamp"]) == ("uid-1", "uid-3")


def test_bounds_and_pages() -> None:
    """The last few of a model; a new uid begins anew; an unknown name has none."""
    events = EventLog(lambda: "t")
    for number in range(PER_MODEL + 5):
        events.event("m", "u", warning=False, reason=f"R{number}", message="")
    assert [f"R{n}" for n in range(5, PER_MODEL + 5)] == [e["reason"] for e in events.list("m")]
    events.event("m", "another", warning=False, reason="New", message="")
    assert [e["reason"] for e in events.list("m")] == ["New"]
    assert events.list("none") == []

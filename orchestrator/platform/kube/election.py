"""
Who may believe to lead: decisions about one Lease, on frozen values. Pure.

The rule is that of client-go. A candidate takes a lease over when it has seen
the same record for `duration_s` on its own clock; a leader stops believing
`deadline_s` after it *began* to send the last renewal that was confirmed. What
the record says of times is for people. So no two clocks are ever compared,
and a clock of the wall may jump as it likes.

Why this is safe: a candidate sees a renewal after it was sent, and waits longer
than its sender believes. Whatever is written is a compare-and-swap on what was
seen, so that a message which was under way for an hour changes nothing.

Each acquisition, also one by a process that finds itself in the record since
the answer to its first write was lost, takes a new epoch in the same write.
An epoch is led with only after its write was confirmed.

Not promised: anything where clocks run at rates more than `duration_s /
deadline_s` apart, or of a process that is frozen between looking at the clock
and acting. Adapters have fences for that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.machinery.epoch import next_epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. Law: what a leader trusts is over before what a candidate waits for."""

    duration_s: float = 15.0
    deadline_s: float = 10.0
    #: Between a leader's renewals, and between its attempts at one.
    retry_s: float = 2.0
    #: Between a standby's looks: a lease that was let go is taken up that soon.
    look_s: float = 1.0
    #: Pauses are up to this much longer, so that candidates do not go in step.
    jitter: float = 1.2

    def __post_init__(self) -> None:
        if not (0 < self.look_s <= self.duration_s and 0 < self.retry_s < self.deadline_s < self.duration_s):
            raise ValueError(f"expected retry < deadline < duration: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the Lease says. A renewal differs in `renewed`, whatever clock it is from."""

    #: Empty: it was let go.
    holder: str
    epoch: int
    renewed: str
    acquired: str
    transitions: int


#: A Lease that nobody has written yet.
BLANK = Record(holder="", epoch=0, renewed="", acquired="", transitions=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one process knows of the lease, and what it may believe. Times are of its own monotonic clock."""

    me: str
    timing: Timing
    #: The record as it was last seen; None: no look has succeeded.
    seen: Record | None = None
    #: When exactly this record was seen first.
    since: float = 0.0
    #: The epoch of the term that it has, or had; 0: none.
    epoch: int = 0
    #: Until when it leads, if nothing else is heard.
    until: float = float("-inf")

    def leads(self, now: float) -> bool:
        """At most one process is answered with True, of all that look at one Lease."""
        return now < self.until

    @property
    def holder(self) -> str:
        """Who was seen to lead; empty: nobody, or not known."""
        return self.seen.holder if self.seen is not None else ""


def looked(standing: Standing, record: Record, now: float) -> Standing:
    """The Lease was read, and says this. `now`: when the answer was here."""
    if record != standing.seen:
        standing = replace(standing, seen=record, since=now)
    if record.holder != standing.me or record.epoch != standing.epoch:
        return replace(standing, until=float("-inf"))
    return standing


def bid(standing: Standing, now: float, *, unix_ms: int, timestamp: str) -> Record | None:
    """What a candidate writes over the record that it has seen; None: not yet."""
    seen = standing.seen
    if seen is None:
        return None
    rival = seen.holder not in {"", standing.me}
    if rival and now - standing.since < standing.timing.duration_s:
        return None
    return Record(
        holder=standing.me,
        epoch=next_epoch(seen.epoch, unix_ms),
        renewed=timestamp,
        acquired=timestamp,
        transitions=seen.transitions + (seen.holder != standing.me and seen != BLANK),
    )


def renewal(standing: Standing, seen: Record, *, timestamp: str) -> Record | None:
    """What a leader writes over its own record, `seen`; None: it is not its own any more."""
    if seen.holder != standing.me or seen.epoch != standing.epoch:
        return None
    return replace(seen, renewed=timestamp)


def release(standing: Standing, seen: Record, *, timestamp: str, heard: int) -> Record | None:
    """What lets go of it. `heard`: the highest epoch of a later leader, for the next to begin above it."""
    if seen.holder != standing.me:
        return None
    return replace(seen, holder="", epoch=max(seen.epoch, heard), renewed=timestamp)


def written(standing: Standing, record: Record, *, began: float, now: float) -> Standing:
    """Its own write was confirmed. `began`: before it was sent."""
    leading = record.holder == standing.me
    return replace(
        standing,
        seen=record,
        since=now,
        epoch=record.epoch if leading else standing.epoch,
        until=began + standing.timing.deadline_s if leading else float("-inf"),
    )

"""
Who waits for which model, and what becomes of each.

A waiter is one request. It waits until the latest answer about its model
settles it, its time is up, or it leaves; the names that waiters wait for are
what the leader is asked. All of it is state and rules: the event loop, the
clock and gRPC are outside, `now` is any monotonic clock in seconds.

After every call the caller drains `settled()`, and sends `changes()` when
`changed` says so.

What it does not promise: that an answer is true. Who was sent to a server that
does not have the model says so (`stale`) and waits for a better answer; the
same answer is tried again after a growing pause, since the leader may have
been right: a server that starts again at the same address.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from orchestrator.activator.waiter import Forward, Readiness, Reply, Verdict, Waiter
from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want

# gRPC status codes, as numbers: this floor knows no gRPC.
_DEADLINE_EXCEEDED: Final = 4
_NOT_FOUND: Final = 5
_RESOURCE_EXHAUSTED: Final = 8
_UNAVAILABLE: Final = 14

#: The pause before a server is tried again on an unchanged answer: doubles from the first to the last.
_RETRY_FIRST_S: Final = 0.05
_RETRY_LAST_S: Final = 2.0
#: How often one request may be sent to servers that do not have its model.
_MAX_STALE: Final = 100
#: A hot model whose server died must not become a stream of messages to the leader.
_STALE_EVERY_S: Final = 0.5
#: A name whose model is ready is kept so long after its last waiter, with its answer: what comes next need not ask. Nobody
#: is evicted meanwhile: so it is over, and known to be, before the controller looks for room again (MIN_RESIDENCY_S).
LINGER_S: Final = 0.5


@dataclass(slots=True)
class _Name:
    """
    A wanted model.

    It has waiters, or lingers (`release_at`), or else is to be released: it
    lives on until the leader is told, since a leader that believes it wanted
    will not repeat its answer to who comes in between.
    """

    since: float
    waiters: set[Waiter] = field(default_factory=set)
    #: Waiters with `load`.
    loaders: int = 0
    answer: Answer | None = None
    #: Grows whenever the answer changes.
    serial: int = 0
    #: A waiter met a stale route and the leader has said nothing since.
    stale: bool = False
    #: Whether the leader was told of that.
    stale_told: bool = False
    stale_again_at: float = 0.0
    #: Until when it lingers without waiters.
    release_at: float | None = None

    def want(self) -> Want:
        return Want(load=self.loaders > 0, stale=self.stale)


@dataclass(frozen=True, slots=True)
class Changes:
    """What to tell the leader: names wanted (again), with their flags, and names that no one wants any more."""

    want: dict[str, Want]
    release: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """What an answer changed: for the log."""

    previous: Answer | None
    since: float
    waiters: int


class Gate:
    """
    Holds requests, bounded in number, and knows which models they want.

    Laws: at most `max_waiting` waiters, `max_per_model` of them for one model;
    each waiter gets a verdict by its deadline; a name is wanted once whatever
    the number of its waiters, and released when the last has left.
    """

    __slots__ = ("_count", "_due", "_names", "_settled", "_told", "_untold", "closed", "max_per_model", "max_waiting")

    def __init__(self, *, max_waiting: int, max_per_model: int) -> None:
        self.max_waiting = max_waiting
        self.max_per_model = max_per_model
        #: Why no one is admitted any more.
        self.closed: str | None = None
        self._count = 0
        self._names: dict[str, _Name] = {}
        self._settled: list[Waiter] = []
        #: A time before which `tick` has nothing to do.
        self._due = float("inf")
        #: What the leader knows, as far as was drained; and the names of which it may be wrong.
        self._told: dict[str, Want] = {}
        self._untold: dict[str, None] = {}

    # For requests.

    def admit(
        self, model: str, *, load: bool, stale: bool, now: float, deadline: float, own_deadline: bool
    ) -> Waiter | Reply:
        """A waiter (its verdict may be there already), or why there is no place. Every waiter must `leave`."""
        if self.closed is not None:
            return Reply(_UNAVAILABLE, self.closed)
        if self._count >= self.max_waiting:
            return Reply(
                _RESOURCE_EXHAUSTED,
                f"{self._count} requests are held already, at most {self.max_waiting} may be: try again later",
            )
        name = self._names.get(model)
        if name is None:
            name = self._names[model] = _Name(since=now)
        elif not name.waiters:
            name.since = now
        elif len(name.waiters) >= self.max_per_model:
            return Reply(
                _RESOURCE_EXHAUSTED,
                f"{len(name.waiters)} requests are held already for model '{model}',"
                f" at most {self.max_per_model} may be: try again later",
            )
        waiter = Waiter(model, load, now, deadline, own_deadline)
        name.release_at = None
        name.waiters.add(waiter)
        name.loaders += load
        self._count += 1
        if stale:
            self._doubt(name, now)
        self._owe(name, model)
        self._judge(name, waiter, now)
        return waiter

    def stale(self, waiter: Waiter, serial: int, now: float) -> None:
        """The answer with that number led nowhere: the waiter waits for a better one."""
        name = self._names[waiter.model]
        waiter.verdict = None
        waiter.stale += 1
        waiter.avoid = serial
        waiter.retry_at = now + min(_RETRY_LAST_S, _RETRY_FIRST_S * 2 ** (waiter.stale - 1))
        self._doubt(name, now)
        self._owe(name, waiter.model)
        if self.closed is not None:
            self._settle(waiter, Reply(_UNAVAILABLE, self.closed))
        elif waiter.stale >= _MAX_STALE:
            self._settle(
                waiter, Reply(_UNAVAILABLE, f"model '{waiter.model}': no server had it in {waiter.stale} attempts")
            )
        else:
            self._judge(name, waiter, now)

    def leave(self, waiter: Waiter, now: float) -> None:
        """The request is over, whatever its end. Once a waiter."""
        name = self._names[waiter.model]
        name.waiters.remove(waiter)
        name.loaders -= waiter.load
        self._count -= 1
        if name.waiters:
            self._owe(name, waiter.model)
        elif waiter.model not in self._told:
            del self._names[waiter.model]
            self._untold.pop(waiter.model, None)
        elif isinstance(name.answer, ReadyAt) and not name.stale:
            # The flags last told stand: a model is not unwanted for a moment between two requests.
            name.release_at = now + LINGER_S
            self._due = min(self._due, name.release_at)
        else:
            self._untold[waiter.model] = None

    # From the leader.

    def answer(self, model: str, answer: Answer, now: float) -> Heard | None:
        """The latest word on a model; None if no one asked."""
        name = self._names.get(model)
        if name is None:
            return None
        previous = name.answer
        if name.stale and name.stale_told:
            # An answer settles the leader's own mark as well: nothing to send.
            name.stale = False
            self._told[model] = name.want()
        if answer != previous:
            name.answer = answer
            name.serial += 1
        heard = Heard(previous, name.since, len(name.waiters))
        for waiter in name.waiters:
            if waiter.verdict is None:
                self._judge(name, waiter, now)
        return heard

    # Time.

    def next_tick(self) -> float:
        """When `tick` may have something to do; inf if never."""
        return self._due

    def tick(self, now: float) -> None:
        """End waits whose time is up, try again what is due, release names that linger."""
        if now < self._due:
            return
        self._due = float("inf")
        for model, name in self._names.items():
            if name.release_at is not None:
                if name.release_at <= now:
                    name.release_at = None
                    self._untold[model] = None
                else:
                    self._due = min(self._due, name.release_at)
            for waiter in name.waiters:
                if waiter.verdict is None:
                    self._judge(name, waiter, now)

    def close(self, reason: str) -> None:
        """Admit no one any more, and end every wait with UNAVAILABLE and the reason."""
        self.closed = reason
        for name in self._names.values():
            for waiter in name.waiters:
                if waiter.verdict is None:
                    self._settle(waiter, Reply(_UNAVAILABLE, reason))

    # For the caller.

    def settled(self) -> list[Waiter]:
        """The waiters that got their verdict since the last call."""
        drained, self._settled = self._settled, []
        return drained

    @property
    def waiting(self) -> int:
        """How many requests are at the gate."""
        return self._count

    @property
    def changed(self) -> bool:
        """Whether `changes` may have something to say."""
        return bool(self._untold)

    def changes(self) -> Changes:
        """What the leader has not been told."""
        want: dict[str, Want] = {}
        release: list[str] = []
        for model in self._untold:
            name = self._names[model]
            if name.release_at is not None:
                continue
            if not name.waiters:
                del self._names[model], self._told[model]
                release.append(model)
                continue
            wanted = name.want()
            if self._told.get(model) != wanted or (wanted.stale and not name.stale_told):
                want[model] = self._told[model] = wanted
                name.stale_told = wanted.stale
        self._untold.clear()
        return Changes(want, tuple(release))

    def everything(self) -> dict[str, Want]:
        """All that is wanted, for a leader that knows nothing; `changes` goes on from there."""
        self.unheard()
        self._untold.clear()
        for model, name in self._names.items():
            self._told[model] = name.want()
            name.stale_told = name.stale
        return dict(self._told)

    def unheard(self) -> None:
        """The leader is gone, and with it what it was told. Who waits goes on waiting, by the last answer."""
        self._told.clear()
        self._names = {model: name for model, name in self._names.items() if name.waiters}
        self._untold = dict.fromkeys(self._names)

    # Rules.

    def _judge(self, name: _Name, waiter: Waiter, now: float) -> None:
        match name.answer:
            case ReadyAt(endpoints) if endpoints:
                if not waiter.stale or name.serial > waiter.avoid or now >= waiter.retry_at:
                    self._settle(waiter, Forward(endpoints, name.serial))
                    return
                self._due = min(self._due, waiter.retry_at)
            case Refused(code, message) if waiter.load or code == _NOT_FOUND:
                self._settle(waiter, Reply(code, message))
                return
            case None:
                pass
            case answer if not waiter.load:
                self._settle(waiter, Readiness(isinstance(answer, OnDemand)))
                return
            case _:
                pass
        if now < waiter.deadline:
            self._due = min(self._due, waiter.deadline)
            return
        code = _DEADLINE_EXCEEDED if waiter.own_deadline else _UNAVAILABLE
        waited = f"{max(0.0, now - waiter.since):.3g} s"
        self._settle(waiter, Reply(code, f"model '{waiter.model}': held for {waited}, {_lacking(name.answer)}"))

    def _settle(self, waiter: Waiter, verdict: Verdict) -> None:
        waiter.verdict = verdict
        self._settled.append(waiter)

    def _doubt(self, name: _Name, now: float) -> None:
        if now >= name.stale_again_at:
            name.stale_again_at = now + _STALE_EVERY_S
            name.stale = True
            # What stood already is said again: that the leader knew of one does not mean that it knows of this.
            name.stale_told = False

    def _owe(self, name: _Name, model: str) -> None:
        """Have the leader told of the name's flags, if it does not know them."""
        if self._told.get(model) != name.want() or (name.stale and not name.stale_told):
            self._untold[model] = None


def _lacking(answer: Answer | None) -> str:
    """What a request waited for, as its client reads it."""
    match answer:
        case None:
            return "waiting for the serving controller, which has not answered"
        case WaitFor(message):
            return f"waiting: {message}" if message else "waiting for it to be loaded"
        case OnDemand() | Refused():
            return "waiting for it to be loaded"
        case ReadyAt():
            return "waiting for a server that has it: the last one did not"

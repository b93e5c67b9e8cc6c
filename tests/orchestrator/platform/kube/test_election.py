"""Who may believe to lead, whatever becomes of messages, clocks and processes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from orchestrator.platform.kube.election import (
    BLANK,
    Record,
    Standing,
    Timing,
    bid,
    looked,
    release,
    renewal,
    written,
)

TIMING = Timing()


@dataclass
class Server:
    """One Lease, and compare-and-swap on its version."""

    record: Record = BLANK
    version: int = 0

    def swap(self, version: int, record: Record) -> bool:
        if version != self.version:
            return False
        self.record, self.version = record, version + 1
        return True


@dataclass
class Message:
    """A read, or a write of `record` over `version`, on its way to the server and back."""

    began: float
    record: Record | None = None
    version: int = 0
    #: What the server answered: its record and version; None: refused, or not there yet.
    answer: tuple[Record, int] | None = None
    served: bool = False


@dataclass
class Process:
    """An elector: its own clocks, and one request at a time that it waits for."""

    standing: Standing
    #: Its monotonic clock is the true time and this; its wall clock is whatever it is.
    offset: float
    wall_ms: int = 0
    version: int = 0
    pending: Message | None = None
    led: list[int] = field(default_factory=list)

    def now(self, time: float) -> float:
        return time + self.offset


@dataclass
class World:
    """Several processes, one Lease. Messages arrive late, twice never, or not at all."""

    processes: list[Process]
    server: Server = field(default_factory=Server)
    time: float = 0.0
    #: Given up by who sent them, and still under way.
    stray: list[Message] = field(default_factory=list)
    ticks: int = 0
    terms: list[int] = field(default_factory=list)

    def timestamp(self) -> str:
        self.ticks += 1
        return str(self.ticks)

    def send(self, process: Process, wish: str) -> None:
        """A request, if none is waited for: `wish` is look or write."""
        if process.pending is not None:
            return
        now = process.now(self.time)
        message = Message(began=now, version=process.version)
        if wish == "write" and process.standing.seen is not None:
            if process.standing.leads(now):
                message.record = renewal(process.standing, process.standing.seen, timestamp=self.timestamp())
            else:
                message.record = bid(process.standing, now, unix_ms=process.wall_ms, timestamp=self.timestamp())
        process.pending = message

    def let_go(self, process: Process) -> None:
        seen = process.standing.seen
        if process.pending is None and seen is not None:
            record = release(process.standing, seen, timestamp=self.timestamp(), heard=0)
            # Whoever lets go has stopped before.
            process.standing = replace(process.standing, until=float("-inf"))
            if record is not None:
                process.pending = Message(began=process.now(self.time), record=record, version=process.version)

    def serve(self, message: Message) -> None:
        """It is at the server now; each is there once."""
        if message.served:
            return
        message.served = True
        if message.record is None or self.server.swap(message.version, message.record):
            message.answer = (self.server.record, self.server.version)

    def arrive(self, process: Process) -> None:
        """The answer, if there is one yet."""
        message, now = process.pending, process.now(self.time)
        if message is None or not message.served:
            return
        process.pending = None
        if message.answer is None:
            return
        record, process.version = message.answer
        if message.record is None:
            process.standing = looked(process.standing, record, now)
            return
        process.standing = written(process.standing, record, began=message.began, now=now)
        if process.standing.leads(now) and process.standing.epoch not in process.led:
            process.led.append(process.standing.epoch)
            self.terms.append(process.standing.epoch)

    def give_up(self, process: Process) -> None:
        """A timeout: the message goes on without anybody who waits for it."""
        if process.pending is not None:
            self.stray.append(process.pending)
            process.pending = None

    def leaders(self) -> list[str]:
        return [p.standing.me for p in self.processes if p.standing.leads(p.now(self.time))]


#: What may happen; what it is about is a number, of a process or a message.
HAPPENINGS = (
    "round",
    "slow",
    "look",
    "write",
    "serve",
    "arrive",
    "give up",
    "let go",
    "stray",
    "pass",
    "pass",
    "clock",
)
PASSING = (0.1, 1.0, 2.0, 4.9, 5.0, 9.9, 10.0, 14.9, 15.0, 16.0, 3600.0)


def history(dice: random.Random) -> list[tuple[str, float]]:
    """Up to a hundred things that happen."""
    steps: list[tuple[str, float]] = []
    for _ in range(dice.randrange(100)):
        what = dice.choice(HAPPENINGS)
        if what == "pass":
            steps.append((what, dice.choice(PASSING)))
        elif what == "clock":
            steps.append((what, dice.uniform(-1e7, 1e7)))
        else:
            steps.append((what, dice.randrange(6)))
    return steps


def step(world: World, what: str, value: float) -> None:
    """One thing that happens."""
    if what == "pass":
        world.time += value
        return
    if what == "stray":
        for message in world.stray[int(value) : int(value) + 1]:
            world.serve(message)
        return
    process = world.processes[int(value) % len(world.processes)]
    if what == "clock":
        process.wall_ms = 1_700_000_000_000 + int(value)
    elif what == "round":
        for wish in ("look", "write"):
            world.send(process, wish)
            if process.pending is not None:
                world.serve(process.pending)
                world.arrive(process)
    elif what == "slow":
        # All others see the write long before its sender is answered.
        for each in ("look", "serve", "arrive", "write", "serve"):
            step(world, each, value)
        for other in range(len(world.processes)):
            if world.processes[other] is not process:
                for each in ("look", "serve", "arrive"):
                    step(world, each, other)
        world.time += 7.0
        step(world, "arrive", value)
    elif what in {"look", "write"}:
        world.send(process, what)
    elif what == "serve" and process.pending is not None:
        world.serve(process.pending)
    elif what == "arrive":
        world.arrive(process)
    elif what == "give up":
        world.give_up(process)
    elif what == "let go":
        world.let_go(process)


def fresh(offsets: list[float]) -> World:
    return World([Process(Standing(me=f"p{n}", timing=TIMING), offset) for n, offset in enumerate(offsets)])


def any_world(dice: random.Random) -> World:
    return fresh([dice.uniform(-1e6, 1e6) for _ in range(dice.randrange(2, 4))])


# Seeds and not lists of steps: thousands of long histories in seconds, where drawing each step apart takes minutes.
@pytest.mark.parametrize("seed", range(3))
def test_never_do_two_believe_to_lead(seed: int) -> None:
    """Whatever is late or lost, whoever is frozen, and whatever their clocks say; and epochs only grow."""
    dice = random.Random(seed)
    for _ in range(1000):
        world, steps = any_world(dice), history(dice)
        for number, (what, value) in enumerate(steps):
            step(world, what, value)
            assert len(world.leaders()) <= 1, steps[: number + 1]
        assert world.terms == sorted(set(world.terms)), steps


def test_when_the_trouble_ends_somebody_leads() -> None:
    """Within what a candidate waits, and a look more; and who leads goes on leading."""
    dice = random.Random(0)
    for _ in range(300):
        world = any_world(dice)
        for what, value in history(dice):
            step(world, what, value)
        for number in range(len(world.processes)):
            step(world, "give up", number)
        leaders = []
        for _ in range(20):
            for number in range(len(world.processes)):
                step(world, "round", number)
            leaders.append(world.leaders())
            world.time += 2.0
        assert leaders[9]
        assert all(each == leaders[9] for each in leaders[9:])


def test_a_leader_that_renews_stays_and_a_candidate_waits() -> None:
    """For hours; and it takes over when renewals end, a whole duration after the last that it saw."""
    world = fresh([0.0, 500.0])
    for _ in range(1000):
        step(world, "round", 0)
        step(world, "round", 1)
        assert world.leaders() == ["p0"]
        world.time += 2.0
    world.time += 12.9
    step(world, "round", 1)
    assert world.leaders() == []
    world.time += 0.1
    step(world, "round", 1)
    assert world.leaders() == ["p1"]
    assert world.server.record.transitions == 1


def test_a_lead_counts_from_before_its_renewal_was_sent() -> None:
    """The others count from when they saw it, which may be long before its sender knows."""
    world = fresh([0.0, 0.0])
    step(world, "slow", 0)
    assert (world.time, world.leaders()) == (7.0, ["p0"])
    world.time = 10.0
    assert world.leaders() == []
    world.time = 15.0
    step(world, "round", 1)
    assert world.leaders() == ["p1"]


def test_a_lease_that_was_let_go_is_taken_at_once() -> None:
    """With a higher epoch, also where the clock went back."""
    world = fresh([0.0, 0.0])
    step(world, "clock", 0)
    step(world, "round", 0)
    first = world.server.record.epoch
    step(world, "let go", 0)
    step(world, "serve", 0)
    assert world.server.record.holder == ""
    world.processes[1].wall_ms = 1000
    step(world, "round", 1)
    assert world.leaders() == ["p1"]
    assert world.server.record.epoch == first + 1


def test_a_first_write_whose_answer_was_lost_is_bid_again() -> None:
    """It finds itself in the record: no need to wait, and the epoch that was never led with is left out."""
    world = fresh([0.0])
    step(world, "look", 0)
    step(world, "serve", 0)
    step(world, "arrive", 0)
    step(world, "write", 0)
    step(world, "serve", 0)
    step(world, "give up", 0)
    assert (world.leaders(), world.server.record.epoch) == ([], 1)
    step(world, "round", 0)
    assert (world.leaders(), world.server.record.epoch) == (["p0"], 2)


def test_a_renewal_whose_answer_was_lost_is_no_loss() -> None:
    """The next look finds its own record, and the deadline stays that of the last one that was confirmed."""
    world = fresh([0.0])
    step(world, "round", 0)
    until = world.processes[0].standing.until
    world.time += 2.0
    for what in ("write", "serve", "give up", "look", "serve", "arrive"):
        step(world, what, 0)
    assert world.processes[0].standing.until == until
    step(world, "write", 0)
    step(world, "serve", 0)
    step(world, "arrive", 0)
    assert world.processes[0].standing.until == until + 2.0


@pytest.mark.parametrize(
    "record",
    [
        BLANK,
        Record(holder="", epoch=1, renewed="x", acquired="x", transitions=0),
        Record(holder="other", epoch=2, renewed="x", acquired="x", transitions=1),
        Record(holder="p0", epoch=2, renewed="x", acquired="x", transitions=1),
    ],
)
def test_a_record_that_is_not_the_terms_own_ends_it(record: Record) -> None:
    """Deleted, emptied, another's, or its own with another epoch: at once, whatever the deadline."""
    world = fresh([0.0])
    step(world, "round", 0)
    standing = looked(world.processes[0].standing, record, 0.1)
    assert not standing.leads(0.1)
    assert renewal(standing, record, timestamp="y") is None


def test_what_was_heard_of_a_successor_is_left_to_the_next() -> None:
    """Adapters refuse what is below it."""
    record = Record(holder="p0", epoch=5, renewed="x", acquired="x", transitions=0)
    standing = Standing(me="p0", timing=TIMING, seen=record, epoch=5)
    assert release(standing, record, timestamp="y", heard=9) == replace(record, holder="", epoch=9, renewed="y")
    assert release(standing, record, timestamp="y", heard=0) == replace(record, holder="", renewed="y")
    assert release(standing, replace(record, holder="p1"), timestamp="y", heard=9) is None


@pytest.mark.parametrize("wrong", [{"deadline_s": 15.0}, {"retry_s": 10.0}, {"look_s": 0.0}])
def test_times_that_cannot_be_safe_are_refused(wrong: dict[str, float]) -> None:
    """A leader has to stop before a candidate begins."""
    with pytest.raises(ValueError, match="retry < deadline < duration"):
        Timing(**wrong)

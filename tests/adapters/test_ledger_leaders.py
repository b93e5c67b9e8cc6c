"""
The fence between leaders: old ones that do not know it, new ones, a lease that is recreated, and one adapter's ledger.

Both sides are real, but for what is between them: commands arrive late, in any
order, more than once or never, and so do the answers. Apart from test_ledger.py,
since this is about who is obeyed and that about what becomes of it.

Epochs are milliseconds: no two leaders take theirs within the same one. If they
did, in a lease that was recreated with a clock that went back to that very
moment, nobody could tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from adapters.domain.copies import CopyKey, CopyState, Failure, Reason, ServerState
from adapters.domain.errors import Refused
from adapters.domain.progress import Ticket
from adapters.ledger import Ledger
from orchestrator.machinery.epoch import next_epoch
from orchestrator.machinery.term import Term
from tests.adapters.world import kept
from tests.picks import Picks, numbers
from tests.properties import examples

#: Room for one copy and a half.
TOTAL = 15
SIZE = 10
KEYS = tuple(CopyKey(name, "u", revision) for name in "ab" for revision in "12")
#: Between two leaders.
MOMENT = 1000
STEPS = 40
FAILURE = Failure(reason=Reason.MODEL_LOAD_FAILED, message="no")


@dataclass(eq=False)
class Leader:
    """A controller's term, and the boot that it takes the server to be in."""

    term: Term
    boot: str = ""


@dataclass(frozen=True)
class Command:
    """One that is somewhere on its way."""

    leader: Leader
    boot: str
    key: CopyKey
    load: bool


@dataclass
class Lease:
    """Where epochs are taken from: the record, which may be lost, and the clock, which may go back."""

    clock: int = 0
    record: int = 0

    def take(self) -> Leader:
        self.clock += MOMENT
        self.record = next_epoch(self.record, self.clock)
        return Leader(Term(self.record))

    def hear(self, leader: Leader) -> None:
        """A process that was deposed has ended: the next term of whoever starts it is above what it heard."""
        self.record = max(self.record, leader.term.successor)


@dataclass
class Adapter:
    """The ledger, and what its loader and server do with what it says."""

    ledger: Ledger = field(default_factory=lambda: Ledger(TOTAL))
    boots: int = 0
    tickets: set[Ticket] = field(default_factory=set)

    def watch(self, leader: Leader) -> None:
        """A leader dials: the report that it gets tells it the boot, and who was heard."""
        self.ledger.hello(leader.term.epoch)
        leader.boot = self.ledger.boot
        leader.term.hear(self.ledger.epoch, "report")

    def take(self, command: Command) -> bool:
        """Whether the command was accepted; one that was not has changed nothing but the highest epoch."""
        before, highest = self.ledger.changes(0), self.ledger.epoch
        try:
            self.ledger.check(command.leader.term.epoch, command.boot)
        except Refused:
            after = self.ledger.changes(0)
            assert (after.copies, after.reserved, after.boot) == (before.copies, before.reserved, before.boot)
            return False
        assert command.leader.term.epoch >= highest
        assert command.boot == self.ledger.boot
        if command.load:
            self.tickets.add(self.ledger.load(command.key)[1])
        else:
            self.ledger.unload(command.key)
        return True

    def step(self, ticket: Ticket, *, broken: bool = False) -> None:
        """What an attempt does next, valid or not."""
        copy = self.ledger.copy(ticket.key)
        if copy is not None and copy.state is CopyState.DOWNLOADING:
            failure = FAILURE if broken else self.ledger.reserve(ticket, SIZE)
            if failure is not None:
                self.ledger.fail(ticket, failure)
            else:
                self.ledger.downloaded(ticket, SIZE, 1.0)
        elif copy is not None and copy.state is CopyState.LOADING:
            holder = self.ledger.holder(ticket.key.model)
            self.ledger.loaded(ticket, 1.0, holder if holder != ticket.key else None)

    def unload(self) -> None:
        """The server drops what is to go."""
        for copy in self.ledger.changes(0).copies:
            if copy.state is CopyState.UNLOADING:
                self.ledger.gone(copy.key)

    def reboot(self) -> None:
        """The server dies, and is back."""
        self.ledger.server_lost()
        self.start()

    def start(self) -> None:
        self.boots += 1
        self.ledger.server_ready(f"boot {self.boots}")

    def restart(self) -> None:
        """The adapter dies and is back: what it wrote down is the fence, the boot and the copies that serve."""
        old, self.ledger, self.tickets = self.ledger, Ledger(TOTAL, epoch=self.ledger.epoch), set()
        if old.server is ServerState.READY:
            self.ledger.server_ready(old.boot, kept(old))


class Succession:
    """Any of them at any time."""

    def __init__(self) -> None:
        self.lease = Lease()
        self.leases = 0
        self.adapter = Adapter()
        self.adapter.start()
        self.leaders: list[Leader] = []
        self.network: list[Command] = []
        self.highest = 0

    def step(self, picks: Picks) -> None:
        """One thing happens."""
        picks.pick(
            self.commands,
            self.goes_on,
            self.arrives,
            self.commands,
            self.goes_on,
            self.another_leader,
            self.arrives,
            self.watches,
            self.happens,
            self.the_lease_is_recreated,
        )(picks)
        assert 0 <= self.adapter.ledger.reserved <= TOTAL
        assert self.adapter.ledger.epoch >= self.highest
        self.highest = self.adapter.ledger.epoch

    def another_leader(self, picks: Picks) -> None:
        """The one before is frozen, cut off or dead: it does not hear of it here."""
        self.leaders.append(self.lease.take())
        if picks.pick(True, False):
            self.dial(self.leaders[-1])

    def the_lease_is_recreated(self, picks: Picks) -> None:
        """Its epochs begin where the clock is, which may be anywhere."""
        self.leases += 1
        self.lease = Lease(clock=picks.pick(*range(6)) * MOMENT + self.leases * STEPS)

    def watches(self, picks: Picks) -> None:
        """A leader dials, perhaps again."""
        if self.leaders:
            self.dial(picks.pick(*reversed(self.leaders)))

    def commands(self, picks: Picks) -> None:
        """Whoever believes that it leads. What arrives at once may arrive again; what does not may never."""
        if not self.leaders:
            return self.another_leader(picks)
        leader = picks.pick(*reversed(self.leaders))
        command = Command(leader, leader.boot, picks.pick(*KEYS), picks.pick(True, True, False))
        if picks.pick(True, False):
            self.network.append(command)
        if picks.pick(True, False):
            self.deliver(command, heard=True)

    def arrives(self, picks: Picks) -> None:
        """In any order; it may come once more; its answer may be lost."""
        if self.network:
            command = picks.pick(*self.network)
            if picks.pick(True, False):
                self.network.remove(command)
            self.deliver(command, heard=picks.pick(True, False))

    def goes_on(self, picks: Picks) -> None:
        """An attempt, current or not."""
        if self.adapter.tickets:
            ticket = picks.pick(*sorted(self.adapter.tickets, key=lambda t: (t.key, t.number), reverse=True))
            self.adapter.step(ticket, broken=picks.pick(False, False, False, True))

    def happens(self, picks: Picks) -> None:
        """To the server, or to the adapter."""
        picks.pick(self.adapter.unload, self.adapter.restart, self.adapter.unload, self.adapter.reboot)()

    def end(self) -> None:
        """The newest leader has its way, whatever of the others comes after it, as often as it likes."""
        newest = self.lead()
        for command in self.network:
            # Some are of leaders of a lease before this one, of which the adapter has not heard.
            self.adapter.take(command)
            self.deliver(Command(newest, newest.boot, KEYS[0], load=False), heard=True)
            if newest.term.over:
                newest = self.lead()
        wanted = {KEYS[1]}
        for _ in range(3):
            for key in KEYS:
                assert self.adapter.take(Command(newest, newest.boot, key, load=key in wanted))
                for command in self.network:
                    assert not self.adapter.take(command)
            for ticket in sorted(self.adapter.tickets, key=lambda t: (t.key, t.number)):
                self.adapter.step(ticket)
                self.adapter.step(ticket)
            self.adapter.unload()
        left = {copy.key: copy.state for copy in self.adapter.ledger.changes(0).copies}
        assert left == dict.fromkeys(wanted, CopyState.LOADED)

    def lead(self) -> Leader:
        """A leader that the adapter does not refuse: the next, or the one after it."""
        for _ in range(2):
            newest = self.lease.take()
            self.dial(newest)
            if not newest.term.over:
                return newest
        raise AssertionError("the next leader begins above what the one before was refused with")

    def deliver(self, command: Command, *, heard: bool) -> None:
        if not self.adapter.take(command) and heard:
            command.leader.term.hear(self.adapter.ledger.epoch, "refusal")
            self.bury(command.leader)

    def dial(self, leader: Leader) -> None:
        self.adapter.watch(leader)
        self.bury(leader)

    def bury(self, leader: Leader) -> None:
        """A leader that heard of another commands no more; what it sent before is still under way."""
        if leader.term.over:
            self.lease.hear(leader)
            if leader in self.leaders:
                self.leaders.remove(leader)


@examples(200)
@given(st.lists(numbers, min_size=STEPS, max_size=STEPS))
def test_in_the_end_the_newest_leader_has_its_way(steps: list[Picks]) -> None:
    """
    And until then no command of a lower epoch, or for another boot, changes anything, and no byte is promised twice.

    The newest may have to lead more than once: where the lease's epochs began anew, a refusal tells it how high,
    once for each leader of the lease before that the adapter had not heard of.
    """
    world = Succession()
    for picks in steps:
        world.step(picks)
    world.end()

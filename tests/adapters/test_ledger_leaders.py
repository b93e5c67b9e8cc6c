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

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.domain.copies import CopyKey, CopyState, Failure, Reason, ServerState
from adapters.domain.errors import Refused
from adapters.domain.progress import Ticket
from adapters.ledger import Ledger
from orchestrator.machinery.epoch import next_epoch
from orchestrator.machinery.term import Term

#: Room for one copy and a half.
TOTAL = 15
SIZE = 10
KEYS = tuple(CopyKey(name, "u", revision) for name in "ab" for revision in "12")
#: Between two leaders.
MOMENT = 1000
STEPS = 30
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
            self.ledger.server_ready(old.boot, old.kept())


class Succession(RuleBasedStateMachine):
    """Any of them at any time."""

    @initialize()
    def begin(self) -> None:
        self.lease = Lease()
        self.leases = 0
        self.adapter = Adapter()
        self.adapter.start()
        self.leaders: list[Leader] = []
        self.network: list[Command] = []
        self.highest = 0

    @rule(dials=st.booleans())
    def another_leader(self, dials: bool) -> None:
        """The one before is frozen, cut off or dead: it does not hear of it here."""
        self.leaders.append(self.lease.take())
        if dials:
            self._answer(self.leaders[-1])

    @rule(moments=st.integers(0, 5))
    def the_lease_is_recreated(self, moments: int) -> None:
        """Its epochs begin where the clock is, which may be anywhere."""
        self.leases += 1
        self.lease = Lease(clock=moments * MOMENT + self.leases * STEPS)

    @precondition(lambda self: self.leaders)
    @rule(data=st.data())
    def watches(self, data: st.DataObject) -> None:
        self._answer(data.draw(st.sampled_from(self.leaders)))

    @precondition(lambda self: self.leaders)
    @rule(data=st.data(), key=st.sampled_from(KEYS), load=st.booleans(), at_once=st.booleans())
    def commands(self, data: st.DataObject, key: CopyKey, load: bool, at_once: bool) -> None:
        """Whoever believes that it leads. What arrives at once may arrive again."""
        leader = data.draw(st.sampled_from(self.leaders))
        self.network.append(Command(leader, leader.boot, key, load))
        if at_once:
            self._deliver(self.network[-1], heard=True)

    @precondition(lambda self: self.network)
    @rule(data=st.data(), again=st.booleans(), heard=st.booleans())
    def arrives(self, data: st.DataObject, again: bool, heard: bool) -> None:
        """In any order; it may come once more; its answer may be lost."""
        command = data.draw(st.sampled_from(self.network))
        if not again:
            self.network.remove(command)
        self._deliver(command, heard=heard)

    @precondition(lambda self: self.network)
    @rule(data=st.data())
    def is_lost(self, data: st.DataObject) -> None:
        self.network.remove(data.draw(st.sampled_from(self.network)))

    @precondition(lambda self: self.adapter.tickets)
    @rule(data=st.data(), broken=st.booleans())
    def goes_on(self, data: st.DataObject, broken: bool) -> None:
        tickets = sorted(self.adapter.tickets, key=lambda t: (t.key, t.number))
        self.adapter.step(data.draw(st.sampled_from(tickets)), broken=broken)

    @rule(what=st.sampled_from(("unload", "reboot", "restart")))
    def happens(self, what: str) -> None:
        getattr(self.adapter, what)()

    @invariant()
    def what_is_promised_is_there(self) -> None:
        assert 0 <= self.adapter.ledger.reserved <= TOTAL

    @invariant()
    def the_fence_only_rises(self) -> None:
        assert self.adapter.ledger.epoch >= self.highest
        self.highest = self.adapter.ledger.epoch

    def teardown(self) -> None:
        """
        In the end the newest leader has its way, whatever of the others comes after it, as often as it likes.

        It may have to lead more than once: where the lease's epochs began anew, refusals tell it how high, one for
        each leader of the lease before that the adapter had not heard of.
        """
        if not hasattr(self, "adapter"):
            return
        newest = self._lead()
        for command in self.network:
            self.adapter.take(command)
            self._deliver(Command(newest, newest.boot, KEYS[0], load=False), heard=True)
            if newest.term.over:
                newest = self._lead()
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

    def _lead(self) -> Leader:
        """A leader that the adapter does not refuse: the next, or the one after it."""
        for _ in range(2):
            newest = self.lease.take()
            self._answer(newest)
            if not newest.term.over:
                return newest
        raise AssertionError("the next leader begins above what the one before was refused with")

    def _deliver(self, command: Command, *, heard: bool) -> None:
        if not self.adapter.take(command) and heard:
            command.leader.term.hear(self.adapter.ledger.epoch, "refusal")
            self._bury(command.leader)

    def _answer(self, leader: Leader) -> None:
        self.adapter.watch(leader)
        self._bury(leader)

    def _bury(self, leader: Leader) -> None:
        """A leader that heard of another commands no more; what it sent before is still under way."""
        if leader.term.over:
            self.lease.hear(leader)
            if leader in self.leaders:
                self.leaders.remove(leader)


TestSuccession = Succession.TestCase
TestSuccession.settings = settings(max_examples=100, stateful_step_count=STEPS, deadline=None)

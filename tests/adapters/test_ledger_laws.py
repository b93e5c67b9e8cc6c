"""The ledger's laws, under two leaders, lost and repeated commands, stale attempts and reboots."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from adapters.domain.copies import Copy, CopyKey, CopyState, Failure, Reason, ServerState
from adapters.domain.errors import Refused
from adapters.domain.progress import Admission, Changes, Departure, Ticket
from adapters.ledger import Ledger
from tests.adapters.world import kept, state_of
from tests.properties import examples

FAILURE = Failure(reason=Reason.MODEL_LOAD_FAILED, message="no")
BLAME = Failure(reason=Reason.MODEL_LOAD_FAILED, message="died", crashed=True)


class Reader:
    """A watcher's side: what it believes after the reports that it took."""

    def __init__(self) -> None:
        self.copies: dict[CopyKey, Copy] = {}
        self.version = 0

    def take(self, changes: Changes) -> None:
        if changes.full:
            self.copies.clear()
        for key in changes.gone:
            self.copies.pop(key, None)
        self.copies.update({copy.key: copy for copy in changes.copies})
        self.version = changes.version


class Machine(RuleBasedStateMachine):
    """Anything that leaders, attempts and the server may do, in any order."""

    tickets = Bundle("tickets")
    keys = st.builds(CopyKey, st.sampled_from("ab"), st.just("u"), st.sampled_from("12"))
    epochs = st.integers(0, 3)

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger(100, max_gone=3, max_failed=2)
        self.boots = 0
        self.highest = 0
        self.reader = Reader()
        self.slow = Reader()

    def fence(self, epoch: int, boot: str) -> bool:
        """Whether a command with this fence passes; a refused one changes nothing but the epoch."""
        before = self.ledger.changes(0)
        try:
            self.ledger.check(epoch, boot)
        except Refused:
            after = self.ledger.changes(0)
            assert (before.copies, before.reserved) == (after.copies, after.reserved)
            self.highest = max(self.highest, epoch)
            return False
        assert epoch >= self.highest
        assert boot == self.ledger.boot
        assert self.ledger.server is ServerState.READY
        self.highest = epoch
        return True

    @rule(epoch=epochs)
    def hello(self, epoch: int) -> None:
        self.ledger.hello(epoch)
        self.highest = max(self.highest, epoch)

    @rule(target=tickets, epoch=epochs, age=st.integers(0, 1), key=keys)
    def load(self, epoch: int, age: int, key: CopyKey) -> Ticket:
        if not self.fence(epoch, f"boot {self.boots - age}" if self.boots - age else ""):
            return Ticket(key, -1)
        before = state_of(self.ledger, key)
        admission, ticket = self.ledger.load(key)
        match admission:
            case Admission.START:
                assert before in {None, CopyState.FAILED}
            case Admission.JOINED:
                assert before in {CopyState.DOWNLOADING, CopyState.LOADING}
            case Admission.VERIFY:
                assert before is CopyState.LOADED
            case Admission.QUEUED:
                assert before in {CopyState.UNLOADING, CopyState.FAILED}
        return ticket

    @rule(epoch=epochs, age=st.integers(0, 1), key=keys)
    def unload(self, epoch: int, age: int, key: CopyKey) -> None:
        if self.fence(epoch, f"boot {self.boots - age}" if self.boots - age else ""):
            departure = self.ledger.unload(key)
            gone = state_of(self.ledger, key) is None
            assert gone == (departure is Departure.ABSENT)

    @rule(ticket=tickets, needed=st.integers(0, 120))
    def reserve(self, ticket: Ticket, needed: int) -> None:
        held = self.ledger.reserved
        failure = self.ledger.reserve(ticket, needed)
        if failure is not None:
            assert self.ledger.reserved == held
            assert failure.needed == needed > failure.available
            assert (failure.reason is Reason.MODEL_TOO_LARGE) == (needed > 100)

    @rule(
        ticket=tickets,
        step=st.sampled_from(["downloaded", "exposed", "loaded", "fail", "fail_held", "release", "missing"]),
    )
    def progress(self, ticket: Ticket, step: str) -> None:
        before = self.ledger.copy(ticket.key)
        valid = self.ledger.valid(ticket)
        match step:
            case "downloaded":
                self.ledger.downloaded(ticket, 1, 1.0)
            case "exposed":
                self.ledger.exposed(ticket, BLAME)
            case "loaded":
                holder = self.ledger.holder(ticket.key.model)
                self.ledger.loaded(ticket, 1.0, None if holder == ticket.key else holder)
            case "fail":
                self.ledger.fail(ticket, FAILURE)
            case "fail_held":
                self.ledger.fail(ticket, FAILURE, keep_reservation=True)
            case "release":
                self.ledger.release(ticket)
            case _:
                self.ledger.missing(ticket)
        if not valid:
            assert self.ledger.copy(ticket.key) == before

    @rule(target=tickets, key=keys)
    def renew(self, key: CopyKey) -> Ticket:
        before = self.ledger.copy(key)
        ticket = self.ledger.renew(key)
        if ticket is None:
            assert self.ledger.copy(key) == before
            return Ticket(key, -1)
        assert before is not None
        assert before.state is CopyState.LOADED
        assert state_of(self.ledger, key) is CopyState.LOADING
        return ticket

    @rule(key=keys)
    def gone(self, key: CopyKey) -> None:
        if state_of(self.ledger, key) is CopyState.UNLOADING:
            self.ledger.gone(key)

    @rule()
    def ready(self) -> None:
        if self.ledger.server is not ServerState.READY:
            self.boots += 1
            self.ledger.server_ready(f"boot {self.boots}")

    @rule()
    def lost(self) -> None:
        if self.ledger.server is ServerState.READY:
            self.ledger.server_lost()
            assert self.ledger.reserved == 0

    @rule()
    def read(self) -> None:
        self.slow.take(self.ledger.changes(self.slow.version))

    @invariant()
    def capacity_holds(self) -> None:
        assert 0 <= self.ledger.reserved <= self.ledger.total

    @invariant()
    def one_holder_a_name(self) -> None:
        copies = self.ledger.changes(0).copies
        serving = [copy.key.model for copy in copies if self.ledger.serves(copy.key)]
        assert len(serving) == len(set(serving))

    @invariant()
    def one_copy_a_name_is_kept(self) -> None:
        names = [copy.key.model for copy in kept(self.ledger)]
        assert len(names) == len(set(names))

    @invariant()
    def the_epoch_never_falls(self) -> None:
        assert self.ledger.epoch == self.highest

    @invariant()
    def readers_end_with_the_truth(self) -> None:
        self.reader.take(self.ledger.changes(self.reader.version))
        everything = {copy.key: copy for copy in self.ledger.changes(0).copies}
        assert self.reader.copies == everything
        late = Reader()
        late.copies, late.version = dict(self.slow.copies), self.slow.version
        late.take(self.ledger.changes(late.version))
        assert late.copies == everything


Machine.TestCase.settings = examples(60, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase

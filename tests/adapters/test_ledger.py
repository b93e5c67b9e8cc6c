"""The ledger's laws, under two leaders, lost and repeated commands, stale attempts and reboots."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from adapters.domain.copies import Copy, CopyKey, CopyState, Failure, Reason, ServerState
from adapters.domain.errors import Draining, Refused, ServerNotReady, StaleBoot, StaleEpoch
from adapters.domain.progress import Admission, Changes, Departure, Ticket
from adapters.ledger import Ledger
from tests.adapters.world import kept
from tests.properties import examples

A1 = CopyKey("a", "u", "1")
A2 = CopyKey("a", "u", "2")
FAILURE = Failure(reason=Reason.MODEL_LOAD_FAILED, message="no")
BLAME = Failure(reason=Reason.MODEL_LOAD_FAILED, message="died", crashed=True)


def ready(total: int = 100) -> Ledger:
    ledger = Ledger(total)
    ledger.server_ready("boot")
    return ledger


def load(ledger: Ledger, key: CopyKey, needed: int = 10, replaced: CopyKey | None = None) -> Ticket:
    _, ticket = ledger.load(key)
    assert ledger.reserve(ticket, needed) is None
    assert ledger.downloaded(ticket, needed, 0.5)
    assert ledger.loaded(ticket, 0.25, replaced)
    return ticket


def downloaded(ledger: Ledger, key: CopyKey) -> Ticket:
    """An attempt whose next step is the server."""
    _, ticket = ledger.load(key)
    assert ledger.downloaded(ticket, 1, 1.0)
    return ticket


def state_of(ledger: Ledger, key: CopyKey) -> CopyState | None:
    copy = ledger.copy(key)
    return copy.state if copy else None


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


def refusal(ledger: Ledger, epoch: int, boot: str) -> type[Refused] | None:
    try:
        ledger.check(epoch, boot)
    except Refused as error:
        return type(error)
    return None


def test_a_lower_epoch_another_boot_and_a_server_that_is_not_ready_are_told_apart() -> None:
    """The refusal says what the caller has to do: step down, look again, wait."""
    ledger = Ledger(100)
    assert refusal(ledger, 5, "") is ServerNotReady
    ledger.server_ready("boot")
    assert refusal(ledger, 4, "boot") is StaleEpoch
    assert refusal(ledger, 5, "other") is StaleBoot
    assert refusal(ledger, 6, "boot") is None
    assert refusal(ledger, 5, "boot") is StaleEpoch
    ledger.server_lost()
    assert refusal(ledger, 6, "boot") is ServerNotReady


def test_what_the_server_was_loading_when_it_died_is_told_in_both_boots() -> None:
    """Not what waited for its turn, nor what had loaded; a new attempt is under suspicion until it has loaded."""
    ledger = ready()
    load(ledger, A1)
    downloaded(ledger, CopyKey("b", "u", "1"))
    loading = downloaded(ledger, CopyKey("c", "u", "1"))
    ledger.exposed(loading, BLAME)
    ledger.server_lost()
    expected = (Copy(key=loading.key, state=CopyState.FAILED, failure=BLAME),)
    assert ledger.changes(0).copies == expected
    seen = ledger.version
    ledger.server_ready("boot 2")
    assert ledger.changes(seen).copies == ledger.changes(0).copies == expected
    _, again = ledger.load(loading.key)
    assert not ledger.loaded(loading, 1.0)
    assert ledger.suspect(loading.key)
    assert ledger.loaded(again, 1.0)
    assert not ledger.suspect(loading.key)


def test_a_suspect_that_had_no_part_in_the_next_loss_stays_one_and_is_not_blamed_again() -> None:
    """What waits as failed is told on; what is tried again and waits for its turn is gone. Both are loaded alone."""
    ledger = ready()
    failed, waiting, guilty = (CopyKey(name, "u", "1") for name in "abc")
    for key in (failed, waiting, guilty):
        ledger.exposed(downloaded(ledger, key), BLAME)
    ledger.server_lost()
    ledger.server_ready("boot 2")
    downloaded(ledger, waiting)
    ledger.exposed(downloaded(ledger, guilty), BLAME)
    ledger.server_lost()
    seen = ledger.version
    assert [copy.key for copy in ledger.changes(0).copies] == [failed, guilty]
    assert state_of(ledger, waiting) is None
    ledger.server_ready("boot 3")
    assert [copy.key for copy in ledger.changes(seen).copies] == [failed, guilty]
    assert all(ledger.suspect(key) for key in (failed, waiting, guilty))
    load(ledger, waiting)
    ledger.unload(failed)
    assert [ledger.suspect(key) for key in (failed, waiting, guilty)] == [False, False, True]


def test_a_replacement_holds_both_reservations_until_the_old_copy_is_gone() -> None:
    """In place means both in memory: what does not fit is refused before anything moves."""
    ledger = ready()
    load(ledger, A1, 60)
    _, ticket = ledger.load(A2)
    refused = ledger.reserve(ticket, 50)
    assert refused is not None
    assert (refused.reason, refused.needed, refused.available) == (Reason.NO_ROOM, 50, 40)
    assert ledger.reserve(ticket, 40) is None
    assert ledger.reserved == 100
    since = ledger.version
    ledger.loaded(ticket, 1.0, A1)
    assert ledger.reserved == 40
    assert ledger.changes(since).gone == (A1,)
    assert ledger.holder("a") == A2


def test_of_two_revisions_in_one_place_the_later_command_wins() -> None:
    """A slow attempt never replaces what was asked for after it, unless that is on its way out."""
    ledger = ready()
    _, slow = ledger.load(A1)
    load(ledger, A2)
    assert not ledger.later(slow, A2)
    ledger.load(A1)
    assert ledger.later(slow, A2)
    ledger.load(A2)
    assert not ledger.later(slow, A2)
    ledger.unload(A2)
    assert ledger.later(slow, A2)


def test_a_failed_attempt_lets_its_bytes_go_only_when_the_server_has_nothing_of_it() -> None:
    """Reported at once, released later; until then another Load waits."""
    ledger = ready()
    _, ticket = ledger.load(A1)
    ledger.reserve(ticket, 30)
    ledger.fail(ticket, FAILURE, keep_reservation=True)
    assert state_of(ledger, A1) is CopyState.FAILED
    assert ledger.reserved == 30
    assert ledger.load(A1)[0] is Admission.QUEUED
    ledger.release(ticket)
    assert ledger.reserved == 0
    assert ledger.load(A1)[0] is Admission.START


def test_a_reader_that_missed_too_many_departures_gets_everything() -> None:
    """Tombstones are bounded; forgetting one costs a full report, never a wrong one."""
    ledger = Ledger(100, max_gone=2)
    ledger.server_ready("boot")
    load(ledger, A1)
    since = ledger.version
    for number in range(3):
        ledger.unload(CopyKey("x", "u", str(number)))
    changes = ledger.changes(since)
    assert changes.full
    assert [copy.key for copy in changes.copies] == [A1]
    assert not ledger.changes(ledger.version - 1).full


def test_failed_copies_are_bounded_and_the_oldest_goes_first() -> None:
    """A leader that never unloads failures does not fill the adapter."""
    ledger = Ledger(100, max_failed=2)
    ledger.server_ready("boot")
    keys = [CopyKey(name, "u", "1") for name in "abc"]
    for key in keys:
        ledger.fail(ledger.load(key)[1], FAILURE)
    assert [state_of(ledger, key) for key in keys] == [None, CopyState.FAILED, CopyState.FAILED]


def test_only_what_serves_and_is_wanted_outlives_the_adapter() -> None:
    """Attempts and departures are not adopted by the next adapter."""
    ledger = ready()
    load(ledger, A1)
    load(ledger, CopyKey("b", "u", "1"))
    ledger.load(CopyKey("c", "u", "1"))
    ledger.unload(A1)
    assert [copy.key.model for copy in kept(ledger)] == ["b"]


def test_a_changed_source_shows_in_the_report_of_the_failure() -> None:
    """And a copy that did not fail has no source to change."""
    ledger = ready()
    ledger.fail(ledger.load(A1)[1], FAILURE)
    load(ledger, A2)
    since = ledger.version
    ledger.source_changed(A1)
    ledger.source_changed(A2)
    (copy,) = ledger.changes(since).copies
    assert copy.failure is not None
    assert copy.failure.source_changed


def test_a_drain_lasts_as_long_as_the_server_and_takes_nothing_away() -> None:
    """No load is admitted any more; a command to unload is. Said twice it is no news. The next boot is none of it."""
    ledger = ready()
    ledger.admit()
    load(ledger, A1)
    for step in (ledger.drain, ledger.close):
        before = ledger.version
        step()
        after = ledger.version
        assert after > before
        step()
        assert ledger.version == after
    assert (ledger.changes(0).draining, ledger.changes(0).closing) == (True, True)
    assert state_of(ledger, A1) is CopyState.LOADED
    ledger.check(1, "boot")
    assert ledger.unload(A1) is Departure.BEGIN
    with pytest.raises(Draining):
        ledger.admit()
    ledger.server_lost()
    assert ledger.draining
    ledger.server_ready("another")
    assert (ledger.changes(0).draining, ledger.changes(0).closing) == (False, False)
    ledger.admit()

"""The ledger's cases, each by itself; test_ledger_laws.py has what holds in all of them."""

from __future__ import annotations

import pytest

from adapters.domain.copies import Copy, CopyKey, CopyState, Failure, Reason
from adapters.domain.errors import Draining, Refused, ServerNotReady, StaleBoot, StaleEpoch
from adapters.domain.progress import Admission, Departure, Ticket
from adapters.ledger import Ledger
from tests.adapters.world import kept, state_of

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

"""When copies were loaded and last used."""

from __future__ import annotations

from orchestrator.controller.residency import Residency
from orchestrator.domain.fleet import CopyState
from tests.orchestrator.builders import make_copy, make_key

A, B = make_copy(), make_copy(key=make_key(model="other"))


def times(residency: Residency, now: float) -> list[tuple[float, float]]:
    residents = residency.residents((A, B), now, lambda key: False)
    return [(r.loaded_at, r.last_used) for r in residents]


def test_a_copy_counts_from_when_it_was_first_seen_loaded_and_last_asked_for() -> None:
    """Looking again changes nothing; what was never looked at is new: nothing is evicted on what is not known."""
    residency = Residency()
    residency.look((A,), "digits", 5.0)
    residency.look((A,), "digits", 9.0)
    assert times(residency, 20.0) == [(5.0, 5.0), (20.0, 20.0)]
    residency.used(A.key, 12.0)
    residency.used(B.key, 12.0)
    residency.look((A,), "digits", 15.0)
    assert times(residency, 20.0) == [(5.0, 12.0), (20.0, 20.0)]


def test_requests_count_for_each_copy_of_the_model() -> None:
    """Whichever of them answered; and for nothing that is not loaded."""
    residency = Residency()
    second = make_copy(key=make_key("r2"), pod="p2")
    residency.look((A, second), "digits", 5.0)
    residency.reported({"digits": 0.5, "nobody": 0.5}, 12.0)
    residents = residency.residents((A, second), 20.0, lambda key: False)
    assert [(r.loaded_at, r.last_used) for r in residents] == [(5.0, 10.0), (5.0, 10.0)]
    assert (residency.last_used("digits", 20.0), residency.last_used("nobody", 20.0)) == (10.0, None)
    assert residency.by_use(["nobody", "digits"], 20.0) == ["digits", "nobody"]


def test_a_report_takes_back_no_later_use_and_one_that_lasts_is_use() -> None:
    """It is of the past; but a request that has been under way since the last report still is."""
    residency = Residency()
    residency.look((A,), "digits", 5.0)
    residency.used(A.key, 19.0)
    residency.reported({"digits": 0.1}, 20.0)
    assert residency.last_used("digits", 20.0) == 19.0
    residency.reported({"digits": 0.0}, 30.0)
    assert residency.last_used("digits", 31.0) == 30.0


def test_what_is_asked_for_all_the_time_is_used_now() -> None:
    """Until a report says otherwise: what was asked for once since the last one is no more in use than that."""
    rates = {"digits": 1.0}
    residency = Residency(lambda model: rates.get(model, 0.0))
    residency.look((A,), "digits", 5.0)
    residency.look((B,), "other", 5.0)
    residency.used(B.key, 28.0)
    assert times(residency, 30.0) == [(5.0, 30.0), (5.0, 28.0)]
    assert residency.by_use(["digits", "other"], 30.0) == ["digits", "other"]
    rates["digits"] = 0.9
    assert times(residency, 30.0) == [(5.0, 5.0), (5.0, 28.0)]
    assert residency.by_use(["digits", "other"], 30.0) == ["other", "digits"]


def test_what_is_loaded_no_more_is_forgotten_however_it_went() -> None:
    """Unloaded, or reloading: it starts anew, and nothing is kept."""
    residency = Residency()
    residency.look((A,), "digits", 5.0)
    residency.look((make_copy(CopyState.LOADING),), "digits", 6.0)
    assert residency._models == {}
    residency.look((A,), "digits", 7.0)
    assert times(residency, 20.0)[0] == (7.0, 7.0)
    residency.look((), "digits", 8.0)
    assert residency._models == {}


def test_only_loaded_copies_can_leave_and_pins_are_asked_for_each() -> None:
    """With the bytes that each holds."""
    copies = (A, make_copy(CopyState.LOADING, key=make_key("r0")), B)
    residents = Residency().residents(copies, 1.0, lambda key: key == B.key)
    assert [(r.key, r.reserved, r.pinned) for r in residents] == [(A.key, A.reserved, False), (B.key, B.reserved, True)]


def test_the_last_used_come_first() -> None:
    """Of any names; what is not known was not used."""
    residency = Residency()
    residency.look((A,), "digits", 5.0)
    residency.look((B,), "other", 6.0)
    assert residency.by_use({"unknown", "digits", "other"}, 9.0) == ["other", "digits", "unknown"]
    residency.used(A.key, 7.0)
    assert residency.by_use(["other", "digits"], 9.0) == ["digits", "other"]


def test_the_last_use_of_what_went_with_its_server_is_kept_until_it_is_loaded_again() -> None:
    """It comes back in that order, and does not count as used because it has come back."""
    residency = Residency()
    residency.look((A,), "digits", 5.0)
    residency.used(A.key, 7.0)
    residency.look((B,), "other", 6.0)
    for copies in ((), (make_copy(CopyState.LOADING),)):
        residency.look(copies, "digits", 10.0, lost=True)
        residency.look((), "other", 10.0, lost=True)
        assert residency.by_use({"unknown", "other", "digits"}, 11.0) == ["digits", "other", "unknown"]
    assert (residency.models, residency.last_used("digits", 11.0)) == (0, None)
    residency.look((A,), "digits", 12.0, lost=True)
    assert times(residency, 20.0)[0] == (12.0, 7.0)
    # By choice meanwhile, or deleted.
    residency.look((), "other", 12.0)
    assert residency._lost == {}

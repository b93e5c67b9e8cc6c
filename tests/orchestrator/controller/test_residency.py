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


def test_what_is_loaded_no_more_is_forgotten_however_it_went() -> None:
    """Unloaded, gone with its server, or reloading: it starts anew, and nothing is kept."""
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
    assert residency.by_use({"unknown", "digits", "other"}) == ["other", "digits", "unknown"]
    residency.used(A.key, 7.0)
    assert residency.by_use(["other", "digits"]) == ["digits", "other"]

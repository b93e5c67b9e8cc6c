"""Which copies make room for another."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.eviction import Resident, choose_victims
from tests.orchestrator.builders import make_key

NOW = 100.0


def resident(model: str, *, used: float, reserved: int = 10, loaded: float = 0.0, pinned: bool = False) -> Resident:
    return Resident(key=make_key(model=model), reserved=reserved, loaded_at=loaded, last_used=used, pinned=pinned)


def victims(*residents: Resident, need: int, free: int = 0) -> list[str] | None:
    chosen = choose_victims(residents, need=need, free=free, now=NOW, min_residency_s=1.0)
    return None if chosen is None else [key.model for key in chosen]


def test_what_fits_evicts_nobody() -> None:
    """Room to the byte is room."""
    assert victims(resident("a", used=1), need=10, free=10) == []


def test_the_least_recently_used_go_and_no_more_than_needed() -> None:
    """In the order of their last use."""
    residents = [resident("new", used=30), resident("old", used=10), resident("mid", used=20)]
    assert victims(*residents, need=10) == ["old"]
    assert victims(*residents, need=25, free=5) == ["old", "mid"]


def test_what_is_waited_for_stays() -> None:
    """Another goes in its place, or none."""
    kept = resident("a", used=1, pinned=True)
    assert victims(kept, resident("b", used=50), need=10) == ["b"]
    assert victims(kept, need=10) is None


def test_what_has_just_come_stays_and_nobody_who_was_used_since_goes_for_it() -> None:
    """Else two that do not fit together would replace each other at every request, or push out one that is in use."""
    young = resident("young", used=NOW - 0.5, loaded=NOW - 0.5)
    assert victims(young, resident("old", used=50), need=10) == ["old"]
    assert victims(young, resident("busy", used=NOW), need=10) is None
    assert victims(replace(young, pinned=True), resident("busy", used=NOW), need=10) is None
    assert victims(replace(young, loaded_at=NOW - 1), resident("busy", used=NOW), need=10) == ["young"]


def test_nobody_goes_for_nothing() -> None:
    """If all of them together do not make room, none is evicted."""
    assert victims(resident("a", used=1), resident("b", used=2), need=21) is None


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(95, 100), st.booleans()), max_size=6),
    st.integers(0, 40),
    st.integers(0, 10),
)
def test_victims_make_room_and_none_of_them_is_one_too_many(
    rows: list[tuple[int, int, int, bool]], need: int, free: int
) -> None:
    """Without the last chosen it would not fit; nobody more recently used goes while a less recently used stays."""
    residents = {
        f"m{i}": resident(f"m{i}", used=used, reserved=reserved, loaded=loaded, pinned=pinned)
        for i, (used, reserved, loaded, pinned) in enumerate(rows)
    }
    chosen = victims(*residents.values(), need=need, free=free)
    young = {n for n, r in residents.items() if NOW - r.loaded_at < 1.0}
    able = {n for n, r in residents.items() if not r.pinned}
    if chosen is None:
        assert sum(residents[n].reserved for n in able - young) + free < need or young
        return
    assert not young & set(chosen)
    sizes = [residents[n].reserved for n in chosen]
    assert set(chosen) <= able
    assert sum(sizes) + free >= need
    assert not chosen or sum(sizes[:-1]) + free < need
    last_used = max((residents[n].last_used for n in chosen), default=0)
    assert all(residents[n].last_used >= last_used for n in able - set(chosen))

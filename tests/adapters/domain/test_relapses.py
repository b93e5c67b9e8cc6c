"""What breaks again and again waits longer and longer."""

from __future__ import annotations

from adapters.domain.relapses import Relapses
from tests.adapters.world import key


def test_each_wait_is_longer_until_it_ran_well() -> None:
    """None at first, then a second, a minute at most; one that ran for a minute begins anew. Each copy for itself."""
    relapses, now = Relapses(), 100.0
    waits: list[float] = []
    for ran in (0, 59, 1, 1, 1, 1, 1, 1, 1, 60, 1):
        now += ran
        waits.append(relapses.wait_s(key("a"), now))
        now += waits[-1] + 5
        relapses.mended(key("a"), waits[-1], now)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60, 0, 1]
    assert relapses.wait_s(key("b"), now) == 0


def test_what_is_not_heard_of_any_more_is_forgotten() -> None:
    """Thousands of copies come and go."""
    relapses = Relapses()
    for number in range(100):
        relapses.mended(key(str(number)), 0, number * 60.0)
        relapses.wait_s(key("other"), number * 60.0)
    assert len(relapses._mended) == 1

"""A target is reached when its number is on the right side of its bound, and is not there when nothing was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.examples import NOTHING, everything
from tests.bench.targets import Target, growth, targets


def test_every_target_is_looked_at() -> None:
    """A whole run says something of each; the example reaches all of them."""
    found = targets(everything())
    assert len(found) == 12
    assert all(each.reached for each in found), [each.what for each in found if not each.reached]


def test_nothing_measured_reaches_nothing() -> None:
    """And misses nothing."""
    assert targets(NOTHING) == ()


def test_targets_are_of_the_server_that_they_name() -> None:
    """First requests to another server count for no target of MLServer's."""
    assert not [each for each in targets(everything("triton")) if "MLServer" in each.what]


@pytest.mark.parametrize(
    ("least", "value", "reached"), [(True, 61.0, True), (True, 59.0, False), (False, 59.0, True), (False, 61.0, False)]
)
def test_a_bound_is_the_least_or_the_most(least: bool, value: float, reached: bool) -> None:
    """Either way."""
    target = Target(what="x", value=value, bound=60.0, least=least, unit="%", modelmesh="")
    assert target.reached is reached
    assert target.wanted == ("≥ 60.0 %" if least else "≤ 60.0 %")


def test_what_is_promised_each_time_is_not_held_to_its_median() -> None:
    """One Envoy that was away for too long misses it, and so does one leader that was."""
    results = everything()
    assert results.cluster is not None
    slow = replace(
        results,
        ready=(*results.ready, replace(results.ready[0], away=(0.3, 2.1, 0.3))),
        cluster=replace(results.cluster, failover=(15.0, 20.5, 15.0)),
    )
    assert [each.what for each in targets(slow) if not each.reached] == [
        "Envoy killed, to the next answer, longest of 6",
        "leader killed, until another leads, longest of 3",
    ]


def test_growth_compares_the_ends() -> None:
    """Twice as long at the end is 2, whatever lies between."""
    first = everything().first
    assert first is not None
    cold = replace(first.cold[0], total=(*(10.0,) * 10, *(99.0,) * 40, *(20.0,) * 10))
    assert growth(cold) == 2.0


def test_all_first_requests_count_for_their_median() -> None:
    """Half of them too slow and one more is missed, and be the first ones as fast as they like."""
    results = everything()
    assert results.first is not None
    cold = results.first.cold[0]
    many = len(cold.total) // 2 - 1
    slow = replace(cold, total=(*(10.0,) * many, *(40.0,) * (len(cold.total) - many)))
    found = targets(replace(results, first=replace(results.first, cold=(slow,))))
    what = f"first request to an unloaded model, MLServer, median of {len(cold.total)}"
    assert [(each.value, each.reached) for each in found if each.what == what] == [(40.0, False)]

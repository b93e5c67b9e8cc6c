"""Whom to believe: the lease, or the adapters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.fleet.fences import Fences
from orchestrator.machinery.epoch import CREDIBLE, HIGHEST, next_epoch

PODS = st.sets(st.sampled_from("abcdef"))


@given(PODS, PODS, st.integers(1, 2**64 - 1))
def test_fewer_than_obey_depose_nobody(obeying: set[str], others: set[str], told: int) -> None:
    """Whatever they tell, and however often."""
    fences = Fences()
    for pod in sorted(others):
        fences.ahead(pod, told)
    for pod in sorted(obeying):
        fences.obeys(pod)
    liars = others - obeying
    if len(liars) <= len(obeying):
        assert fences.successor == 0


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, CREDIBLE), min_size=1), st.integers(1, 2**44))
def test_a_lease_made_anew_comes_above_what_adapters_have_seen(seen: dict[str, int], unix_ms: int) -> None:
    """
    After one term more at most.

    Whatever the clock says: those that obey an epoch are below the next, and it is a good epoch.
    """
    epoch = next_epoch(0, unix_ms)
    if told := heard(seen, epoch).successor:
        # As `release` writes it for the next.
        epoch = next_epoch(max(epoch, told), unix_ms)
        assert max(seen.values()) < epoch <= HIGHEST
    assert heard(seen, epoch).successor == 0


def heard(seen: dict[str, int], epoch: int) -> Fences:
    """What a leader of that epoch hears of adapters with these fences."""
    fences = Fences()
    for pod, fence in seen.items():
        if fence > epoch:
            fences.ahead(pod, fence)
        else:
            fences.obeys(pod)
    return fences


def test_what_is_not_credible_is_not_counted() -> None:
    """Nobody could begin above it for long."""
    fences = Fences()
    assert fences.ahead("a", CREDIBLE + 1)
    assert fences.successor == 0
    assert not fences.ahead("a", CREDIBLE)
    assert fences.successor == CREDIBLE
    fences.gone("a")
    assert fences.successor == 0

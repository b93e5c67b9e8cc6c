"""The budget's laws, under any order of events."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.activator.budget import COPIES, Budget, Permit, Pool
from tests.properties import examples

LARGEST = 16
TOTAL = 40
LINE = 5


class PoolMachine(RuleBasedStateMachine):
    """Any number of readers that come, wait, read, hold and go."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(TOTAL, LINE)
        self.reading: list[Permit] = []
        self.held: list[Permit] = []
        #: In the order in which they came.
        self.waiting: list[Permit] = []

    @rule(size=st.integers(0, LARGEST))
    def ask(self, size: int) -> None:
        permit = self.pool.ask(size)
        if permit is None:
            assert len(self.waiting) == LINE
        elif permit.granted:
            assert not self.waiting, "who came earlier is served first"
            self.reading.append(permit)
        else:
            self.waiting.append(permit)

    @rule(size=st.integers(0, LARGEST))
    def charge(self, size: int) -> None:
        before = self.pool.used
        permit = self.pool.charge(size)
        assert (permit is not None) == (before + size <= TOTAL)
        if permit is not None:
            self.held.append(permit)

    @precondition(lambda self: self.reading)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        permit = self.reading.pop(data.draw(st.integers(0, len(self.reading) - 1)))
        self.pool.settle(permit, data.draw(st.integers(0, permit.size)))
        self.held.append(permit)

    @precondition(lambda self: self.reading or self.held or self.waiting)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from([place for place in (self.reading, self.held, self.waiting) if place]))
        self.pool.release(place.pop(data.draw(st.integers(0, len(place) - 1))))

    @invariant()
    def laws(self) -> None:
        granted = self.pool.granted()
        assert granted == self.waiting[: len(granted)], "first come, first served"
        self.reading += granted
        del self.waiting[: len(granted)]
        assert self.pool.used == sum(permit.size for permit in self.reading + self.held) <= TOTAL
        assert self.pool.settled == sum(permit.size for permit in self.held)
        assert self.pool.line == len(self.waiting) <= LINE
        if self.waiting:
            assert self.pool.used + self.waiting[0].size > TOTAL, "who fits is not kept waiting"

    def teardown(self) -> None:
        while self.reading or self.held:
            for place in (self.reading, self.held):
                while place:
                    self.pool.release(place.pop())
            self.laws()
        assert not self.waiting, "everyone is served in the end"
        assert self.pool.used == 0


TestPool = PoolMachine.TestCase
TestPool.settings = examples(50)


def test_the_pools_share_the_budget() -> None:
    """Each takes the largest message, and together with gRPC's copies they are the budget."""
    budget = Budget.divide(134, largest=16, max_line=1)
    pools = (budget.early, budget.requests, budget.responses)
    assert COPIES * sum(pool.total for pool in pools) == 134
    assert all(pool.total >= 16 for pool in pools)
    with pytest.raises(ValueError, match="budget"):
        Budget.divide(127, largest=16, max_line=1)


def test_misuse_is_an_error() -> None:
    """A permit larger than its pool would wait for ever; one is settled once, downwards."""
    pool = Pool(10, 1)
    with pytest.raises(ValueError, match="permit"):
        pool.ask(11)
    permit = pool.ask(5)
    assert permit is not None
    with pytest.raises(ValueError, match="settle"):
        pool.settle(permit, 6)
    pool.settle(permit, 5)
    with pytest.raises(ValueError, match="settle"):
        pool.settle(permit, 5)

"""The budget's laws, under any order of events."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.activator.budget import COPIES, Budget, Permit, Pool
from orchestrator.activator.settings import budget_bytes
from tests.properties import examples

LARGEST = 16
TOTAL = 48
LINE = 5
#: '' is for messages whose model is not known yet.
MODELS = st.sampled_from(("", "a", "b", "c"))
#: Messages of one model, as parts of the largest: read with a permit, or here already.
HUNG = st.lists(st.tuples(st.sampled_from(("read", "charge")), st.floats(0, 1)), max_size=60)


class PoolMachine(RuleBasedStateMachine):
    """Any number of readers that come, wait, read, hold and go."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(TOTAL, LINE, largest=LARGEST)
        self.reading: list[Permit] = []
        self.held: list[Permit] = []
        #: In the order in which they came.
        self.waiting: list[Permit] = []

    @initialize(total=st.sampled_from((2 * LARGEST, 2 * LARGEST + 8, TOTAL)))
    def begin(self, total: int) -> None:
        self.pool = Pool(total, LINE, largest=LARGEST)

    def over_share(self, size: int, model: str) -> bool:
        """Whether the model has more than would stay free beside so many bytes, or than leaves room for a largest."""
        has = sum(permit.size for permit in self.reading + self.held if model and permit.model == model)
        return has > 0 and (has > self.pool.total - self.pool.used - size or has + size > self.pool.total - LARGEST)

    @rule(size=st.integers(0, LARGEST), model=MODELS)
    def ask(self, size: int, model: str) -> None:
        permit = self.pool.ask(size, model)
        if permit is None:
            assert len(self.waiting) == LINE
        elif permit.granted:
            assert not any(each.model == model for each in self.waiting), "who came earlier is served first"
            self.reading.append(permit)
            assert not self.pool.granted()
        else:
            self.waiting.append(permit)

    @rule(size=st.integers(0, LARGEST), model=MODELS)
    def charge(self, size: int, model: str) -> None:
        fits = self.pool.used + size <= self.pool.total and not self.over_share(size, model)
        permit = self.pool.charge(size, model)
        assert (permit is not None) == fits
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
        self.reading += granted
        for permit in granted:
            first = next(each for each in self.waiting if each.model == permit.model)
            assert permit is first, "of one model's, first come, first served"
            self.waiting.remove(permit)
        assert self.pool.used == sum(permit.size for permit in self.reading + self.held) <= self.pool.total
        assert self.pool.settled == sum(permit.size for permit in self.held)
        assert self.pool.line == len(self.waiting) <= LINE
        firsts = {permit.model: permit for permit in reversed(self.waiting)}
        within = [permit for permit in firsts.values() if not self.over_share(permit.size, permit.model)]
        if within:
            first = min(within, key=self.waiting.index)
            assert self.pool.used + first.size > self.pool.total, "who fits is not kept waiting"
        for model in ("a", "b", "c"):
            mine = [permit.size for permit in self.reading + self.held if permit.model == model]
            assert self.pool.used_by(model) == sum(mine) <= self.pool.total - LARGEST

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


def least_budget(largest: int) -> int:
    """The smallest that can be divided."""
    return COPIES * 16 * -(-2 * largest // 5)


@pytest.mark.parametrize("budget_of", [budget_bytes, least_budget])
@pytest.mark.parametrize("name", ["requests", "responses"])
@given(largest=st.integers(1 << 10, 256 << 20), hung=HUNG)
@example(largest=32 << 20, hung=[("read", 0.5), ("read", 1.0)])
@example(largest=16 << 20, hung=[("read", 1 / (16 << 20)), ("read", 1.0), ("read", 1.0)])
def test_a_model_whose_server_hangs_leaves_room_for_another(
    budget_of: Callable[[int], int], name: str, largest: int, hung: list[tuple[str, float]]
) -> None:
    """Whatever it has, reads and waits for, and gives nothing back: another has the room for a largest message."""
    pool: Pool = getattr(Budget.divide(budget_of(largest), largest=largest, max_line=LINE), name)
    for how, part in hung:
        size = round(part * largest)
        if how == "charge":
            pool.charge(size, "hung")
            continue
        permit = pool.ask(largest, "hung")
        if permit is not None and permit.granted:
            pool.settle(permit, size)
        for each in pool.granted():
            pool.settle(each, largest)
    assert pool.used_by("hung") <= 2 / 3 * pool.total
    other = pool.ask(largest, "other")
    assert other is not None
    assert other.granted


@given(st.lists(st.integers(1, LARGEST), max_size=200))
def test_any_number_of_models_that_hang_leave_room_for_small_messages(sizes: list[int]) -> None:
    """Each takes a part of what those before it left."""
    unit = 1 << 10
    pool = Pool(TOTAL * unit, LINE, largest=LARGEST * unit)
    for model in range(8):
        for size in sizes:
            permit = pool.ask(LARGEST * unit, f"hung-{model}")
            if permit is not None and permit.granted:
                pool.settle(permit, size)
    other = pool.ask(LARGEST * unit, "other")
    assert other is not None
    assert other.granted


def test_who_is_over_its_share_by_now_is_not_in_the_way() -> None:
    """A model that waits first, for want of room, and gets some for a stream meanwhile."""
    pool = Pool(TOTAL, LINE, largest=LARGEST)
    assert pool.ask(LARGEST, "a") is not None
    assert pool.charge(LARGEST, "b") is not None
    assert pool.charge(2, "c") is not None
    first, second = pool.ask(LARGEST, "d"), pool.ask(LARGEST - 4, "e")
    assert first is not None
    assert second is not None
    assert not first.granted
    assert not second.granted
    assert pool.charge(1, "d") is not None
    assert pool.granted() == [second]


def test_who_is_over_its_share_is_passed_by_others_and_served_when_there_is_more() -> None:
    """Neither refused nor forgotten."""
    pool = Pool(TOTAL, LINE, largest=LARGEST)
    first, second, third = (pool.ask(LARGEST, "a") for _ in range(3))
    other = pool.ask(LARGEST, "b")
    assert first is not None
    assert second is not None
    assert third is not None
    assert other is not None
    assert [each.granted for each in (first, second, third, other)] == [True, True, False, True]
    pool.release(first)
    assert pool.granted() == []
    pool.release(other)
    assert pool.granted() == [third]


def test_the_pools_share_the_budget() -> None:
    """Together with gRPC's copies they are the budget, and each takes the largest message; those with shares take two."""
    total = least_budget(15) + 6
    budget = Budget.divide(total, largest=15, max_line=1)
    pools = (budget.early, budget.requests, budget.responses)
    assert COPIES * sum(pool.total for pool in pools) == total
    assert budget.early.total >= 15
    assert min(budget.requests.total, budget.responses.total) >= 30
    with pytest.raises(ValueError, match="budget"):
        Budget.divide(least_budget(15) - 1, largest=15, max_line=1)


def test_misuse_is_an_error() -> None:
    """A permit larger than its pool would wait for ever; one is settled once, downwards."""
    pool = Pool(10, 1, largest=5)
    with pytest.raises(ValueError, match="permit"):
        pool.ask(11, "m")
    permit = pool.ask(5, "m")
    assert permit is not None
    with pytest.raises(ValueError, match="settle"):
        pool.settle(permit, 6)
    pool.settle(permit, 5)
    with pytest.raises(ValueError, match="settle"):
        pool.settle(permit, 5)

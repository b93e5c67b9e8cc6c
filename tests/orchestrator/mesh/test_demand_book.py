"""Who waits for which model, and what they were told."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want
from orchestrator.mesh.demand_book import DemandBook, TooManyWants, Waiter
from orchestrator.ports import Activators
from tests.properties import examples

READY = ReadyAt(("127.0.0.1:1",))
LOAD = Want(load=True)


class Bench:
    """A book and what it asked the controller."""

    def __init__(self, max_names: int = 100) -> None:
        self.asked: list[str] = []
        self.woken = 0
        self.book = DemandBook(on_want=self.asked.append, max_names=max_names)

    def waiter(self, **wants: Want) -> Waiter:
        """A stream that began with these."""

        def wake() -> None:
            self.woken += 1

        waiter = self.book.connect(wake)
        self.book.receive(waiter, full=True, wants=wants)
        return waiter


def test_it_is_the_port() -> None:
    """mypy checks the signatures."""
    activators: Activators = Bench().book
    assert activators.wanted("a") is None


def test_wants_are_merged() -> None:
    """One that asks only whether the model is ready does not hide one that needs it loaded."""
    bench = Bench()
    bench.waiter(a=Want())
    assert bench.book.wanted("a") == Want()
    other = bench.waiter(a=LOAD)
    assert bench.book.wanted("a") == LOAD
    assert [figure.samples[()] for figure in bench.book.figures()] == [1, 2]
    bench.book.disconnect(other)
    assert [figure.samples[()] for figure in bench.book.figures()] == [1, 1]
    assert bench.book.wanted("a") == Want()
    assert bench.asked == ["a", "a", "a"]


def test_an_answer_goes_to_those_that_want_the_model() -> None:
    """Once, and to nobody else."""
    bench = Bench()
    one, other = bench.waiter(a=LOAD), bench.waiter(b=LOAD)
    bench.book.answer("a", READY)
    bench.book.answer("a", READY)
    assert bench.woken == 1
    assert one.answers() == [("a", READY)]
    assert one.answers() == []
    assert other.answers() == []


def test_only_the_latest_answer_is_written() -> None:
    """A slow activator gets no history."""
    bench = Bench()
    waiter = bench.waiter(a=LOAD)
    for answer in (OnDemand(), WaitFor("Downloading"), READY):
        bench.book.answer("a", answer)
    assert waiter.answers() == [("a", READY)]


def test_an_answer_outlives_no_want() -> None:
    """Whoever wants the model later is told anew, though it be the same."""
    bench = Bench()
    waiter = bench.waiter(a=LOAD)
    bench.book.answer("a", Refused(9, "ModelNotFound"))
    waiter.answers()
    bench.book.receive(waiter, full=False, wants={}, release=["a"])
    bench.book.answer("a", READY)
    bench.book.receive(waiter, full=False, wants={"a": LOAD})
    assert waiter.answers() == []
    bench.book.answer("a", READY)
    assert waiter.answers() == [("a", READY)]


def test_a_want_that_arrives_again_is_answered_again() -> None:
    """The request behind it has not heard the answer before."""
    bench = Bench()
    waiter = bench.waiter(a=LOAD)
    bench.book.answer("a", READY)
    waiter.answers()
    bench.book.receive(waiter, full=False, wants={"a": LOAD})
    assert bench.asked == ["a", "a"]
    bench.book.answer("a", READY)
    assert waiter.answers() == [("a", READY)]


def test_a_release_takes_back_an_answer_that_was_not_written() -> None:
    """Nobody waits for it."""
    bench = Bench()
    waiter = bench.waiter(a=LOAD)
    bench.book.answer("a", READY)
    bench.book.receive(waiter, full=False, wants={}, release=["a", "never-wanted"])
    assert waiter.answers() == []
    assert bench.asked == ["a", "a"]


def test_a_full_set_replaces_what_stood() -> None:
    """What it does not name is released."""
    bench = Bench()
    waiter = bench.waiter(a=LOAD, b=LOAD)
    bench.book.receive(waiter, full=True, wants={"b": Want()})
    assert (bench.book.wanted("a"), bench.book.wanted("b")) == (None, Want())


def test_a_stale_mark_stays_until_an_answer_that_knew_of_it() -> None:
    """An answer that was on its way when the mark came does not settle it."""
    bench = Bench()
    waiter = bench.waiter(a=LOAD)
    assert bench.book.wanted("a") == LOAD
    bench.book.receive(waiter, full=False, wants={"a": Want(load=True, stale=True)})
    bench.book.answer("a", READY)
    bench.book.receive(waiter, full=False, wants={"a": LOAD})
    assert bench.book.wanted("a") == Want(load=True, stale=True)
    bench.book.answer("a", READY)
    assert bench.book.wanted("a") == LOAD


def test_a_stale_mark_goes_with_the_last_that_wants_the_model() -> None:
    """It was about a request that is gone."""
    bench = Bench()
    waiter = bench.waiter(a=Want(load=True, stale=True))
    bench.book.disconnect(waiter)
    bench.waiter(a=LOAD)
    assert bench.book.wanted("a") == LOAD


def test_wants_are_bounded() -> None:
    """And a message over the bound leaves all as it was."""
    bench = Bench(max_names=2)
    waiter = bench.waiter(a=LOAD, b=LOAD)
    with pytest.raises(TooManyWants, match="3 models wanted on one stream, 2 is the limit"):
        bench.book.receive(waiter, full=False, wants={"c": LOAD})
    assert bench.book.wanted("c") is None
    bench.book.receive(waiter, full=False, wants={"c": LOAD}, release=["a"])
    assert bench.book.wanted("a") is None


class Demand(RuleBasedStateMachine):
    """Any interleaving of three activators' wants with a controller that answers what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.owed: set[str] = set()
        self.book = DemandBook(on_want=self.owed.add)
        self.waiters = [self.book.connect(lambda: None) for _ in range(3)]
        #: By stream: what it wants, and whether it was told since it last said so.
        self.wants: list[dict[str, Want]] = [{}, {}, {}]
        self.told: list[dict[str, Answer]] = [{}, {}, {}]

    @rule(who=st.integers(0, 2), model=st.sampled_from("ab"), load=st.booleans(), stale=st.booleans())
    def want(self, who: int, model: str, load: bool, stale: bool) -> None:
        self.book.receive(self.waiters[who], full=False, wants={model: Want(load, stale)})
        self.wants[who][model] = Want(load)
        self.told[who].pop(model, None)

    @rule(who=st.integers(0, 2), model=st.sampled_from("ab"))
    def release(self, who: int, model: str) -> None:
        self.book.receive(self.waiters[who], full=False, wants={}, release=[model])
        self.wants[who].pop(model, None)
        self.told[who].pop(model, None)

    @rule(who=st.integers(0, 2))
    def restart(self, who: int) -> None:
        self.book.disconnect(self.waiters[who])
        self.waiters[who] = self.book.connect(lambda: None)
        self.wants[who].clear()
        self.told[who].clear()

    @precondition(lambda self: self.owed)
    @rule(answer=st.sampled_from([READY, OnDemand(), Refused(5, "no")]))
    def reconcile(self, answer: Answer) -> None:
        for model in self.owed:
            self.book.wanted(model)
            self.book.answer(model, answer)
            for wants, told in zip(self.wants, self.told, strict=True):
                if model in wants:
                    told[model] = answer
        self.owed.clear()

    @rule(who=st.integers(0, 2))
    def read(self, who: int) -> None:
        for model, answer in self.waiters[who].answers():
            assert self.told[who][model] == answer, "the latest answer, and only to who wants the model"

    @invariant()
    def the_merged_want_is_that_of_the_streams(self) -> None:
        for model in "ab":
            standing = [wants[model] for wants in self.wants if model in wants]
            merged = self.book.wanted(model)
            assert (merged is None) == (not standing)
            if merged is not None:
                assert merged.load == any(want.load for want in standing)

    @invariant()
    def who_was_not_told_is_owed_an_answer(self) -> None:
        for wants, told in zip(self.wants, self.told, strict=True):
            assert wants.keys() - told.keys() <= self.owed


TestDemand = Demand.TestCase
TestDemand.settings = examples(40, stateful_step_count=25, deadline=None)

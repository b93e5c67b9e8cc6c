"""The gate's laws, under any order of events in virtual time, and its answers one by one."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.activator.gate import LINGER_S, Gate
from orchestrator.activator.waiter import Forward, Readiness, Reply, Verdict, Waiter
from orchestrator.controller.actor import MIN_RESIDENCY_S
from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want
from tests.properties import examples

MODELS = ("a", "b", "c")
ANSWERS: tuple[Answer, ...] = (
    ReadyAt(("x:1",)),
    ReadyAt(("y:2", "x:1")),
    ReadyAt(()),
    Refused(5, "no such model"),
    Refused(9, "it failed"),
    WaitFor("loading"),
    OnDemand(),
)
MAX_WAITING = 6
MAX_PER_MODEL = 4
LONGEST_S = 50.0


class GateMachine(RuleBasedStateMachine):
    """Requests that come and go, a leader that answers, dies and returns, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate(max_waiting=MAX_WAITING, max_per_model=MAX_PER_MODEL)
        self.now = 100.0
        self.waiters: list[Waiter] = []
        #: Waiters whose verdict has not been drained.
        self.open: set[Waiter] = set()
        #: What the leader has been told; None while there is none.
        self.leader: dict[str, Want] | None = None

    def pick(self, data: st.DataObject, waiters: list[Waiter]) -> Waiter:
        return waiters[data.draw(st.integers(0, len(waiters) - 1))]

    def drain(self) -> None:
        for waiter in self.gate.settled():
            assert waiter.verdict is not None
            self.open.discard(waiter)

    @rule(
        model=st.sampled_from(MODELS),
        load=st.booleans(),
        stale=st.booleans(),
        patience=st.floats(0, LONGEST_S),
        own=st.booleans(),
    )
    def admit(self, model: str, load: bool, stale: bool, patience: float, own: bool) -> None:
        of_model = sum(waiter.model == model for waiter in self.waiters)
        admitted = self.gate.admit(
            model, load=load, stale=stale, now=self.now, deadline=self.now + patience, own_deadline=own
        )
        full = len(self.waiters) >= MAX_WAITING or of_model >= MAX_PER_MODEL
        if isinstance(admitted, Reply):
            assert full or self.gate.closed
        else:
            assert not full
            self.waiters.append(admitted)
            self.open.add(admitted)

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiter = self.pick(data, self.waiters)
        self.waiters.remove(waiter)
        self.open.discard(waiter)
        self.gate.leave(waiter, self.now)

    @rule(data=st.data())
    def meet_a_stale_route(self, data: st.DataObject) -> None:
        forwarded = [waiter for waiter in self.waiters if isinstance(waiter.verdict, Forward)]
        if forwarded:
            waiter = self.pick(data, forwarded)
            assert isinstance(waiter.verdict, Forward)
            self.open.add(waiter)
            self.gate.stale(waiter, waiter.verdict.serial, self.now)

    @precondition(lambda self: self.leader is not None)
    @rule(model=st.sampled_from(MODELS), answer=st.sampled_from(ANSWERS))
    def answer(self, model: str, answer: Answer) -> None:
        self.gate.answer(model, answer, self.now)
        for waiter in self.waiters:
            if waiter.model == model and isinstance(answer, Refused) and waiter.verdict is None:
                raise AssertionError("a refusal ends every wait")

    @rule(seconds=st.floats(0, 5))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.gate.tick(self.now)

    @rule()
    def find_a_leader(self) -> None:
        self.leader = self.gate.everything()

    @rule()
    def lose_the_leader(self) -> None:
        self.leader = None
        self.gate.unheard()

    @precondition(lambda self: self.leader is not None)
    @rule()
    def tell(self) -> None:
        assert self.leader is not None
        changes = self.gate.changes()
        assert not changes.want.keys() & set(changes.release)
        for model in changes.release:
            del self.leader[model]
        for model, want in changes.want.items():
            assert want.stale or self.leader.get(model) != want, "what stands is not said again"
            self.leader[model] = want
        assert not self.gate.changed
        for model in {waiter.model for waiter in self.waiters}:
            load = any(waiter.load for waiter in self.waiters if waiter.model == model)
            assert self.leader[model].load == load

    @rule()
    def close(self) -> None:
        if self.now > 110:
            self.gate.close("stopping")

    @invariant()
    def laws(self) -> None:
        self.drain()
        assert self.gate.waiting == len(self.waiters) <= MAX_WAITING
        assert all((waiter.verdict is None) == (waiter in self.open) for waiter in self.waiters)
        waiting = [waiter for waiter in self.waiters if waiter.verdict is None]
        if waiting:
            assert not self.gate.closed
            assert self.gate.next_tick() <= min(waiter.deadline for waiter in waiting)

    def teardown(self) -> None:
        self.now += LONGEST_S
        self.gate.tick(self.now)
        self.drain()
        assert all(waiter.verdict is not None for waiter in self.waiters), "every waiter ends"
        for waiter in self.waiters:
            self.gate.leave(waiter, self.now)
        self.gate.tick(self.now + 1)
        if self.leader is not None:
            changes = self.gate.changes()
            assert not changes.want
            assert self.leader.keys() == set(changes.release), "what no one waits for is released"
        assert self.gate.everything() == {}
        assert self.gate.next_tick() == float("inf")


TestGate = GateMachine.TestCase
TestGate.settings = examples(50)


def gate() -> Gate:
    return Gate(max_waiting=10, max_per_model=10)


def admit(gate: Gate, *, load: bool = True, stale: bool = False, now: float = 0.0, own: bool = True) -> Waiter:
    """A waiter with ten seconds."""
    waiter = gate.admit("m", load=load, stale=stale, now=now, deadline=now + 10, own_deadline=own)
    assert isinstance(waiter, Waiter)
    return waiter


@pytest.mark.parametrize(
    ("answer", "request_", "question"),
    [
        (ReadyAt(("x:1",)), Forward(("x:1",), 1), Forward(("x:1",), 1)),
        (ReadyAt(()), None, Readiness(ready=False)),
        (Refused(5, "unknown"), Reply(5, "unknown"), Reply(5, "unknown")),
        (Refused(9, "failed"), Reply(9, "failed"), Readiness(ready=False)),
        (WaitFor("loading"), None, Readiness(ready=False)),
        (OnDemand(), None, Readiness(ready=True)),
    ],
)
def test_what_each_answer_means(answer: Answer, request_: Verdict | None, question: Verdict) -> None:
    """A request waits for a server, a readiness question takes any answer; an unknown model is that for both."""
    asked = gate()
    waiters = admit(asked, load=True), admit(asked, load=False)
    asked.answer("m", answer, 1.0)
    assert tuple(waiter.verdict for waiter in waiters) == (request_, question)


def test_who_comes_later_takes_the_latest_answer() -> None:
    """While a name is wanted its answer is at hand, also for a moment after the last waiter."""
    asked = gate()
    first = admit(asked)
    asked.changes()
    asked.answer("m", ReadyAt(("x:1",)), 1.0)
    asked.leave(first, 1.0)
    assert not asked.changes().release
    second = admit(asked, now=1.0 + LINGER_S / 2)
    assert second.verdict == Forward(("x:1",), 1)
    assert not asked.changes().want
    asked.leave(second, 2.0)
    asked.tick(3.0)
    assert asked.changes().release == ("m",)


def test_a_request_that_is_over_keeps_nobody_in_memory_when_room_is_looked_for_again() -> None:
    """What is wanted is not evicted: were it wanted for that long, one in steady use would be evicted in its place."""
    assert 2 * LINGER_S <= MIN_RESIDENCY_S


def test_a_refusal_is_not_kept() -> None:
    """A model that failed may be mended: the next request asks again."""
    asked = gate()
    first = admit(asked)
    asked.changes()
    asked.answer("m", Refused(9, "failed"), 1.0)
    asked.leave(first, 1.0)
    assert asked.changes().release == ("m",)
    assert admit(asked, now=1.0).verdict is None
    assert asked.changes().want == {"m": Want(load=True)}


def test_a_name_wanted_again_before_its_release_was_sent_keeps_its_answer() -> None:
    """The leader never knew that it was not wanted, and would not say its answer again."""
    asked = gate()
    first = admit(asked)
    asked.changes()
    asked.answer("m", Refused(9, "failed"), 1.0)
    asked.leave(first, 1.0)
    assert admit(asked, now=1.0).verdict == Reply(9, "failed")
    assert asked.changes().release == ()


def test_a_name_that_the_leader_never_heard_of_leaves_no_trace() -> None:
    """Without a leader names do not pile up."""
    asked = gate()
    asked.leave(admit(asked), 0.0)
    assert not asked.changed
    assert asked.everything() == {}


def verdict(waiter: Waiter) -> Verdict | None:
    """Its verdict now: mypy would remember the last one."""
    return waiter.verdict


def test_an_unchanged_answer_is_tried_again_after_growing_pauses() -> None:
    """0.05 s, 0.1 s, … 2 s; a changed one at once; and at the deadline it ends."""
    asked = gate()
    waiter = admit(asked)
    asked.answer("m", ReadyAt(("x:1",)), 0.0)
    now = 0.0
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0):
        asked.stale(waiter, 1, now)
        asked.tick(now + pause * 0.9)
        assert verdict(waiter) is None
        now += pause
        asked.tick(now)
        assert verdict(waiter) == Forward(("x:1",), 1)
    asked.stale(waiter, 1, now)
    asked.answer("m", ReadyAt(("y:2",)), now)
    assert verdict(waiter) == Forward(("y:2",), 2)
    asked.stale(waiter, 2, 9.0)
    asked.tick(10.0)
    assert verdict(waiter) == Reply(
        4, "model 'm': held for 10 s, waiting for a server that has it: the last one did not"
    )


def test_stale_is_said_until_it_is_answered_and_not_too_often() -> None:
    """A hot model whose server died is told to the leader twice a second, not with every request."""
    asked = gate()
    admit(asked)
    asked.changes()
    asked.answer("m", ReadyAt(("x:1",)), 0.0)
    for number in range(5):
        admit(asked, stale=True, now=0.01 * number)
    assert asked.changes().want == {"m": Want(load=True, stale=True)}
    admit(asked, stale=True, now=0.2)
    assert not asked.changes().want
    asked.answer("m", ReadyAt(("x:1",)), 0.3)
    admit(asked, stale=True, now=0.4)
    assert not asked.changes().want
    admit(asked, stale=True, now=0.6)
    assert asked.changes().want == {"m": Want(load=True, stale=True)}


def test_an_answer_before_stale_was_told_does_not_settle_it() -> None:
    """It crossed with the news: the leader still has to hear it."""
    asked = gate()
    admit(asked)
    asked.changes()
    admit(asked, stale=True, now=1.0)
    asked.answer("m", ReadyAt(("x:1",)), 1.0)
    assert asked.changes().want == {"m": Want(load=True, stale=True)}


def test_a_lone_question_does_not_load() -> None:
    """The want loads while someone waits who needs the model loaded."""
    asked = gate()
    question, request = admit(asked, load=False), admit(asked, load=True)
    assert asked.changes().want == {"m": Want(load=True)}
    asked.leave(request, 1.0)
    assert asked.changes().want == {"m": Want(load=False)}
    asked.leave(question, 1.0)
    assert asked.changes().release == ("m",)


@pytest.mark.parametrize(
    ("answer", "own", "reply"),
    [
        (None, True, Reply(4, "model 'm': held for 10 s, waiting for the serving controller, which has not answered")),
        (WaitFor("downloading"), True, Reply(4, "model 'm': held for 10 s, waiting: downloading")),
        (WaitFor("downloading"), False, Reply(14, "model 'm': held for 10 s, waiting: downloading")),
        (OnDemand(), False, Reply(14, "model 'm': held for 10 s, waiting for it to be loaded")),
    ],
)
def test_a_wait_that_ends_says_for_what(answer: Answer | None, own: bool, reply: Reply) -> None:
    """DEADLINE_EXCEEDED for the client's own deadline, UNAVAILABLE for ours."""
    asked = gate()
    waiter = admit(asked, own=own)
    if answer is not None:
        asked.answer("m", answer, 1.0)
    asked.tick(10.0)
    assert verdict(waiter) == reply


def test_closing_ends_every_wait() -> None:
    """Who waits is told why, and so is who comes later or returns from a stale route."""
    asked = gate()
    waiting = admit(asked)
    asked.answer("m", ReadyAt(("x:1",)), 1.0)
    forwarded = admit(asked)
    asked.stale(waiting, 1, 1.0)
    asked.close("stopping")
    assert verdict(waiting) == Reply(14, "stopping")
    assert verdict(forwarded) == Forward(("x:1",), 1)
    asked.stale(forwarded, 1, 1.0)
    assert verdict(forwarded) == Reply(14, "stopping")
    assert asked.admit("n", load=True, stale=False, now=1.0, deadline=2.0, own_deadline=True) == Reply(14, "stopping")

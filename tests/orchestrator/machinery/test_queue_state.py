"""The work queue's state against a naive model of client-go's contract."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.machinery.queue_state import QueueState
from tests.properties import examples

keys = st.sampled_from("abcd")


class QueueContract(RuleBasedStateMachine):
    """Beside the queue: which keys owe a reconcile, in what order, and how many adds and gets there were."""

    def __init__(self) -> None:
        super().__init__()
        self.state: QueueState[str] = QueueState()
        self.now = 0.0
        self.owed: set[str] = set()
        self.order: list[str] = []
        self.adds = 0
        self.gets = 0

    def accept(self, key: str) -> None:
        """An add that counts: the first since the key was last taken."""
        if key in self.owed:
            return
        self.owed.add(key)
        self.adds += 1
        if key not in self.state.processing:
            self.order.append(key)

    @rule(key=keys)
    def add(self, key: str) -> None:
        if not self.state.shutting_down:
            self.accept(key)
        self.state.add(key)

    @rule(key=keys, delay=st.sampled_from([-1.0, 0.0, 1.0, 5.0]))
    def add_after(self, key: str, delay: float) -> None:
        """No delay is an add; of several delays the earliest counts; an add cancels none."""
        due = self.state.waiting.get(key)
        if not self.state.shutting_down:
            if delay <= 0:
                self.accept(key)
            else:
                due = self.now + delay if due is None else min(due, self.now + delay)
        self.state.add_after(key, delay, self.now)
        assert self.state.waiting.get(key) == due

    @rule(seconds=st.sampled_from([0.5, 1.0, 6.0]))
    def advance(self, seconds: float) -> None:
        """A delay that is over becomes an ordinary add, in the order of the times at which they ended."""
        self.now += seconds
        due = {k: t for k, t in self.state.waiting.items() if t <= self.now}
        first = self.state.next_due()
        assert (first is not None and first <= self.now) == bool(due)
        self.state.tick(self.now)
        entered = [k for k in self.state.queue if k not in self.order]
        assert [due[k] for k in entered] == sorted(due[k] for k in entered)
        for key in [*entered, *due.keys() - set(entered)]:
            self.accept(key)

    @precondition(lambda self: not self.state.queue)
    @rule()
    def get_nothing(self) -> None:
        assert self.state.get() is None

    @precondition(lambda self: self.state.queue)
    @rule()
    def get(self) -> None:
        """Fair: first in, first out."""
        key = self.state.get()
        assert key is not None
        assert key == self.order.pop(0)
        self.owed.remove(key)
        self.gets += 1

    @precondition(lambda self: self.state.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        """What was added meanwhile goes to the tail, once."""
        key = data.draw(st.sampled_from(sorted(self.state.processing)))
        self.state.done(key)
        if key in self.owed:
            self.order.append(key)

    @rule()
    def shut_down(self) -> None:
        self.state.shut_down()
        assert self.state.next_due() is None

    @invariant()
    def nothing_is_lost_or_held_twice(self) -> None:
        state = self.state
        assert set(state.queue) <= state.dirty
        assert not state.queue.keys() & state.processing
        assert state.dirty - state.processing == set(state.queue)
        assert state.dirty == self.owed
        assert list(state.queue) == self.order
        assert self.adds == self.gets + len(state.dirty)

    def teardown(self) -> None:
        """After a shutdown what is owed is served, and then it ends."""
        self.state.shut_down()
        for _ in range(2 * (len(self.state.dirty) + len(self.state.processing)) + 1):
            for key in list(self.state.processing):
                self.state.done(key)
            self.state.get()
        assert self.state.drained
        assert not self.state.dirty


TestQueueContract = QueueContract.TestCase
TestQueueContract.settings = examples(100, stateful_step_count=30, deadline=None)


def test_delays_that_are_brought_forward_leave_nothing_behind() -> None:
    """The heap's outdated entries go when their time comes."""
    state: QueueState[str] = QueueState()
    for delay in (50.0, 40.0, 30.0):
        state.add_after("a", delay, 0.0)
    assert state.next_due() == 30.0
    state.tick(30.0)
    assert state.get() == "a"
    assert state.next_due() is None

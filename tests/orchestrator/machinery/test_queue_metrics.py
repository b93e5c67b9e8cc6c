"""The metrics of a queue, against the queue's own contract."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machinery.figures import Figure, Spread
from orchestrator.machinery.queue_metrics import QueueMetrics
from orchestrator.machinery.queue_state import QueueState

NAMES = {
    "workqueue_depth",
    "workqueue_adds",
    "workqueue_queue_duration_seconds",
    "workqueue_work_duration_seconds",
    "workqueue_unfinished_work_seconds",
    "workqueue_longest_running_processor_seconds",
    "workqueue_retries",
}


def values(figures: list[Figure]) -> dict[str, float | Spread]:
    """The one sample of each."""
    return {figure.name: sample for figure in figures for sample in figure.samples.values()}


def counted(spread: float | Spread) -> int:
    assert isinstance(spread, Spread)
    return spread.cumulative[-1]


def test_names_are_those_of_the_contract() -> None:
    """All of them from the start, each with the queue's name."""
    figures = QueueMetrics[str]("controller").figures(0.0)
    assert {figure.name for figure in figures} == NAMES
    assert {figure.labels for figure in figures} == {("name",)}
    numbers = {name: value for name, value in values(figures).items() if not isinstance(value, Spread)}
    assert set(numbers.values()) == {0}


def test_times_are_from_the_add_to_the_get_to_done() -> None:
    """And what is not done yet shows how long it has taken so far."""
    metrics = QueueMetrics[str]("controller")
    metrics.added("a", 1.0)
    metrics.added("b", 2.0)
    metrics.taken("a", 4.0)
    metrics.taken("b", 4.0)
    metrics.done("a", 4.5)
    shown = values(metrics.figures(10.0))
    queued, worked = shown["workqueue_queue_duration_seconds"], shown["workqueue_work_duration_seconds"]
    assert isinstance(queued, Spread)
    assert isinstance(worked, Spread)
    assert (queued.total, worked.total) == (5.0, 0.5)
    assert shown["workqueue_unfinished_work_seconds"] == 6.0
    assert shown["workqueue_longest_running_processor_seconds"] == 6.0


@given(st.lists(st.sampled_from(["add a", "add b", "later a", "get", "done"]), max_size=40))
def test_adds_are_gets_and_what_is_left(steps: list[str]) -> None:
    """adds = gets + depth, depth = |dirty|, gets = finished + running, whatever the order of things."""
    state, metrics, held = QueueState[str](), QueueMetrics[str]("controller"), list[str]()
    for now, step in enumerate(steps):
        for key, since in state.tick(now):
            metrics.added(key, since)
        match step.split():
            case ["add", key]:
                if state.add(key):
                    metrics.added(key, now)
            case ["later", key]:
                metrics.retried()
                if state.add_after(key, 2.0, now):
                    metrics.added(key, now)
            case ["get"] if (taken := state.get()) is not None:
                metrics.taken(taken, now)
                held.append(taken)
            case ["done"] if held:
                key = held.pop()
                state.done(key)
                metrics.done(key, now)
            case _:
                pass
    shown = values(metrics.figures(len(steps)))
    gets = counted(shown["workqueue_queue_duration_seconds"])
    assert shown["workqueue_adds"] == gets + len(state.dirty)
    assert shown["workqueue_depth"] == len(state.dirty)
    assert gets == counted(shown["workqueue_work_duration_seconds"]) + len(held)
    assert shown["workqueue_retries"] == steps.count("later a")

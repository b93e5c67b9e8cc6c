"""What a pod is told of a copy to make."""

from __future__ import annotations

from orchestrator.domain.action import LoadCopy, MakeRoom, Plan, RemoveRoute, UnloadCopy, look_again
from orchestrator.domain.fleet import LoadOrder
from tests.orchestrator.builders import make_key, make_runtime, make_target


def test_an_order_is_what_the_target_says() -> None:
    """Nothing of it is left out, and nothing comes from elsewhere."""
    target = make_target(runtime=make_runtime(load_timeout_s=7.0))
    assert LoadCopy("p1", make_key(), target, 12, True).order == LoadOrder(
        key=make_key(),
        source=target.source,
        uri=target.uri,
        framework=target.framework,
        credentials=target.credentials,
        reserve=12,
        urgent=True,
        timeout_s=7.0,
    )


UNLOAD = UnloadCopy("p1", make_key())
REMOVE = RemoveRoute("m")


def test_plans_add_up() -> None:
    """The actions of both in their order, and the sooner look."""
    both = Plan(actions=(REMOVE,), requeue_after=7.0) + Plan(actions=(UNLOAD,), stands_by=True)
    assert both == Plan(actions=(REMOVE, UNLOAD), requeue_after=7.0, stands_by=True)
    assert (both + look_again(3.0)).requeue_after == 3.0
    assert both + Plan() == Plan() + both == both


def test_what_is_left_out_of_a_plan_is_looked_at_again() -> None:
    """If there is anything to leave out."""
    whole = Plan(actions=(REMOVE, UNLOAD), requeue_after=7.0)
    assert whole.without({UNLOAD}, 3.0) == Plan(actions=(REMOVE,), requeue_after=3.0)
    assert whole.without({UNLOAD}, 9.0) == Plan(actions=(REMOVE,), requeue_after=7.0)
    assert whole.without({MakeRoom("p1", 1)}, 3.0) == whole

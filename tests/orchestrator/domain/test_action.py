"""What a pod is told of a copy to make."""

from __future__ import annotations

from orchestrator.domain.action import LoadCopy
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

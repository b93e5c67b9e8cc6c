"""The published routes."""

from __future__ import annotations

from orchestrator.domain.routes import Route
from orchestrator.mesh.resources import ClusterFactory
from orchestrator.mesh.snapshot import Snapshot


def snapshot() -> Snapshot:
    return Snapshot(ClusterFactory(activator="127.0.0.1:9"))


def test_an_equal_route_changes_nothing() -> None:
    """Not even since when it is published."""
    routes = snapshot()
    made = routes.publish(Route("a", ("127.0.0.1:1",)), 1.0)
    assert made is not None
    assert routes.publish(Route("a", ("127.0.0.1:1",)), 2.0) is None
    published = routes.get("a")
    assert published is not None
    assert (published.since, published.resource) == (1.0, made)


def test_resources_are_always_those_of_the_routes() -> None:
    """Sessions read them as they are at the time of writing."""
    routes = snapshot()
    seen = routes.resources
    routes.publish(Route("a", ("127.0.0.1:1",)), 1.0)
    first = seen["model/a"]
    second = routes.publish(Route("a", ("127.0.0.1:2",)), 2.0)
    assert seen["model/a"] is second
    assert first.version != seen["model/a"].version
    routes.remove("a")
    assert (dict(seen), len(routes), list(routes), routes.get("a")) == ({}, 0, [], None)


def test_removing_what_is_not_there_is_no_error() -> None:
    """Strangers are removed by name."""
    snapshot().remove("a")

"""Routes as clusters."""

from __future__ import annotations

from typing import Final

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.routes import Route
from orchestrator.mesh.resources import ClusterFactory, model_of, resource_name
from tests.orchestrator.mesh import golden
from tests.properties import examples

UNIX: Final = "unix:/run/activator.sock"
LEADER: Final = ClusterFactory(activator=UNIX)
NEXT_LEADER: Final = ClusterFactory(activator=UNIX)
CASES: Final = {
    "cluster-one-holder": ("127.0.0.1:9000", Route("digits", ("10.0.0.7:8001",))),
    "cluster-two-holders": ("127.0.0.1:9000", Route("digits", ("10.0.0.7:8001", "10.0.0.8:8001"))),
    "cluster-withdrawn": ("127.0.0.1:9000", Route("digits")),
    "cluster-unix-activator": (UNIX, Route("digits", ("127.0.0.1:8001",))),
}

endpoints = st.integers(1, 65535).map(lambda port: f"127.0.0.1:{port}")
routes = st.builds(
    Route,
    st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", fullmatch=True),
    st.lists(endpoints, unique=True, max_size=3).map(lambda made: tuple(sorted(made))),
)


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    """The clusters, as Envoy gets them."""
    activator, route = CASES[name]
    cluster = ClusterFactory(activator=activator).cluster(route)
    golden.check(name, MessageToDict(cluster, preserving_proto_field_name=True))


def test_no_golden_file_is_outdated() -> None:
    """Each belongs to a case."""
    golden.check_none_is_outdated("cluster-", set(CASES))


@examples(50)
@given(routes, routes)
def test_versions_are_equal_exactly_when_routes_are(one: Route, other: Route) -> None:
    """Two leaders with the same routes publish the same versions, and never two routes under one."""
    first, second = LEADER.resource(one), NEXT_LEADER.resource(other)
    assert (first == second) == (one == other)
    assert first.name == resource_name(one.model)
    assert NEXT_LEADER.resource(one) == first


def test_names() -> None:
    """A cluster's name leads back to its model; others are nobody's."""
    assert model_of(resource_name("a")) == "a"
    assert model_of("activator") is None


@pytest.mark.parametrize("endpoint", ["host.name:80", "nonsense", ""])
def test_an_endpoint_that_needs_resolving_is_refused(endpoint: str) -> None:
    """A STATIC cluster would make Envoy refuse the whole resource."""
    with pytest.raises(ValueError, match=r"address|endpoint"):
        ClusterFactory(activator=UNIX).resource(Route("a", (endpoint,)))
    with pytest.raises(ValueError, match=r"address|endpoint"):
        ClusterFactory(activator=endpoint)

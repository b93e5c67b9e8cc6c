"""Pushes, answers and refusals, as a router counts them."""

from __future__ import annotations

from orchestrator.domain.routes import Route
from orchestrator.machinery.figures import Spread
from orchestrator.mesh.resources import ClusterFactory
from orchestrator.mesh.router import Router
from orchestrator.mesh.session import Request


def test_a_push_is_counted_and_its_answer_timed() -> None:
    """From the writing to the answer; a late word on something else is no answer."""
    now = 10.0
    router = Router(clusters=ClusterFactory(activator="127.0.0.1:9"), now=lambda: now, on_change=lambda names: None)
    router.expect(frozenset({"mesh-0", "mesh-1"}))
    router.publish(Route("a", ("127.0.0.1:1",)))
    connection = router.connect("mesh-0", Request(), lambda: None)
    (first,) = connection.responses()
    assert connection.responses() == []
    now = 10.25
    router.receive(connection, Request(nonce="of another stream"))
    router.receive(connection, Request(nonce=first.nonce))
    router.publish(Route("a", ("127.0.0.1:2",)))
    (second,) = connection.responses()
    now = 10.5
    router.receive(connection, Request(nonce=second.nonce, error="no such port"))
    read = {figure.name: figure.samples[()] for figure in router.figures()}
    answers = read.pop("wml_xds_ack_seconds")
    assert isinstance(answers, Spread)
    assert (answers.cumulative[-1], answers.total) == (2, 0.5)
    assert read == {
        "wml_xds_pushes": 2,
        "wml_xds_nacks": 1,
        "wml_mesh_nodes_connected": 1,
        "wml_mesh_nodes_expected": 2,
        "wml_routes": 1,
    }

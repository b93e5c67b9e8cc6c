"""What a kubelet can reach of the admin API."""

from __future__ import annotations

from orchestrator.mesh.readiness import readiness_clusters, readiness_listeners


def test_one_path_is_passed_on() -> None:
    """All else is answered without the admin API."""
    [listener] = readiness_listeners("0.0.0.0:8034")
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert [route["match"] for route in routes if "route" in route] == [{"path": "/ready"}]


def test_without_an_address_there_is_nothing() -> None:
    """A laptop's Envoy is asked over its admin socket."""
    assert readiness_listeners(None) == readiness_clusters(None, "unix:/a") == []

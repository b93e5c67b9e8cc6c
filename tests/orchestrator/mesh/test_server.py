"""The delta-CDS service over a real gRPC connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3 import discovery_pb2
from structlog.testing import capture_logs

from orchestrator.domain.routes import Route
from orchestrator.mesh.resources import TYPE_URL, ClusterFactory
from orchestrator.mesh.router import Router
from orchestrator.mesh.server import SERVER_OPTIONS, SERVICE, MeshServer
from tests.orchestrator.waiting import eventually

ROUTE = Route("a", ("127.0.0.1:1",))


class Bench:
    """A served router and a way to speak to it."""

    def __init__(self, router: Router, channel: grpc.aio.Channel) -> None:
        self.router = router
        self._call: grpc.aio.StreamStreamMultiCallable[Any, Any] = channel.stream_stream(
            f"/{SERVICE}/DeltaClusters",
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )

    async def open(self, node: str = "mesh-0", **first: Any) -> grpc.aio.StreamStreamCall[Any, Any]:
        """A stream whose first request is written."""
        call = self._call(timeout=20)
        await call.write(discovery_pb2.DeltaDiscoveryRequest(node={"id": node}, type_url=TYPE_URL, **first))
        return call


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    router = Router(
        clusters=ClusterFactory(activator="unix:/run/activator.sock"), now=lambda: 0.0, on_change=lambda _: None
    )
    router.expect(frozenset({"mesh-0"}))
    server = grpc.aio.server(options=SERVER_OPTIONS)
    MeshServer(router).add_to(server)
    address = f"unix:{tmp_path}/xds.sock"
    server.add_insecure_port(address)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield Bench(router, channel)
    await server.stop(None)


async def read(call: grpc.aio.StreamStreamCall[Any, Any]) -> Any:
    """The next response; the end of the stream is none."""
    response = await call.read()
    assert response != grpc.aio.EOF
    return response


def acked(router: Router) -> bool:
    view = router.view("a")
    return view is not None and view.acked


async def test_a_route_is_pushed_and_acknowledged(bench: Bench) -> None:
    """As a cluster that Envoy can read, first and on each change."""
    bench.router.publish(ROUTE)
    call = await bench.open()
    for route in (ROUTE, Route("a")):
        bench.router.publish(route)
        response = await read(call)
        (resource,) = response.resources
        cluster = Cluster.FromString(resource.resource.value)
        assert (response.type_url, resource.resource.type_url) == (TYPE_URL, TYPE_URL)
        assert (resource.name, cluster.name) == ("model/a", "model/a")
        assert len(cluster.load_assignment.endpoints) == 1 + len(route.endpoints)
        assert not acked(bench.router)
        await call.write(discovery_pb2.DeltaDiscoveryRequest(response_nonce=response.nonce))
        await eventually(lambda: acked(bench.router))
    bench.router.remove("a")
    assert list((await read(call)).removed_resources) == ["model/a"]
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF


async def test_one_line_per_change_of_state(bench: Bench) -> None:
    """Connected, refused with Envoy's words, disconnected."""
    bench.router.publish(ROUTE)
    with capture_logs() as logs:
        call = await bench.open(initial_resource_versions={"model/old": "1"})
        response = await read(call)
        refusal = discovery_pb2.DeltaDiscoveryRequest(response_nonce=response.nonce, error_detail={"message": "no"})
        await call.write(refusal)
        await eventually(lambda: (view := bench.router.view("a")) and view.refused == "no")
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF
        await eventually(lambda: len(logs) == 3)
    connected, refused, disconnected = logs
    assert connected == {
        "event": "mesh_node_connected",
        "log_level": "info",
        "pod": "mesh-0",
        "routes": 1,
        "strangers": 1,
    }
    assert (refused["event"], refused["trained_model"], refused["error"]) == ("mesh_route_refused", "a", "no")
    assert (disconnected["event"], disconnected["superseded"]) == ("mesh_node_disconnected", False)


async def test_an_envoy_that_goes_away_is_forgotten(bench: Bench) -> None:
    """Without a word, too."""
    call = await bench.open()
    await call.read()
    assert bench.router.connected() == {"mesh-0"}
    call.cancel()
    await eventually(lambda: bench.router.connected() == frozenset())


async def test_a_nodes_newer_stream_ends_the_older(bench: Bench) -> None:
    """Two ledgers of one Envoy would contradict each other."""
    older = await bench.open()
    await older.read()
    newer = await bench.open()
    await newer.read()
    assert await older.read() == grpc.aio.EOF
    assert bench.router.connected() == {"mesh-0"}


@pytest.mark.parametrize("node", ["", "mesh-0"])
async def test_who_asks_for_something_else_is_refused(bench: Bench, node: str) -> None:
    """A stream without a node, or of another type."""
    call = bench._call(timeout=20)
    await call.write(discovery_pb2.DeltaDiscoveryRequest(node={"id": node}, type_url="" if node else TYPE_URL))
    with pytest.raises(grpc.aio.AioRpcError, match="expected a node id"):
        await call.read()
    assert bench.router.connected() == frozenset()


async def test_a_stream_that_says_nothing_ends_quietly(bench: Bench) -> None:
    """A port that is probed is no Envoy."""
    call = bench._call(timeout=20)
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF

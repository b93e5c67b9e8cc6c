"""Each image does its work hardened: under any user, on a read-only root, without capabilities."""

from __future__ import annotations

import pytest
from tritonclient.utils import InferenceServerException

from tests.cluster.cluster import Cluster
from tests.cluster.node import images
from tests.cluster.node.users import RANDOM_UID
from tests.cluster.pods import pod
from tests.standalone.client import Client
from tests.standalone.waiting import wait_until

TRITON = ("--model-repository=/tmp", "--model-control-mode=explicit", "--grpc-port=8001", "--allow-http=false")
MLSERVER = {"MLSERVER_GRPC_PORT": "8001", "MLSERVER_HTTP_PORT": "8002", "MLSERVER_METRICS_ENDPOINT": ""} | {
    f"MLSERVER_{what}_DIR": f"/tmp/{what.lower()}" for what in ("METRICS", "ENVIRONMENTS")
}


def test_ours_runs_under_any_user(space: Cluster) -> None:
    """The command line is there, without a home, and the user is who the cluster says."""
    command = ("sh", "-c", "id -u && wml-serving --help")
    space.apply(pod("ours", images.PRODUCT.reference(), command=command))
    space.until("pod", "ours", lambda p: p["status"]["phase"] == "Succeeded", "did not succeed")
    said = space.logs("ours")
    assert said.startswith(f"{RANDOM_UID}\n")
    assert "usage: wml-serving" in said


def test_ours_has_no_trace_of_how_it_was_built(space: Cluster) -> None:
    """Neither pip nor its configuration, nor the authorities of the machine that built it; compiled code is there."""
    look = (
        "find / -xdev \\( -name 'pip.conf' -o -path '/run/secrets/*' -o -path '*/.cache' -o -path '/build*' \\)"
        " -not -path '/proc/*' -print 2>/dev/null; ls /opt/wml-serving/product/orchestrator/__pycache__ | grep -c manager"
    )
    space.apply(pod("look", images.PRODUCT.reference(), command=("sh", "-c", look)))
    space.until("pod", "look", lambda p: p["status"]["phase"] in {"Succeeded", "Failed"}, "did not end")
    assert space.logs("look") == "1\n"


@pytest.mark.parametrize("server", ["triton", "mlserver"])
def test_a_server_starts_and_answers(space: Cluster, server: str) -> None:
    """On its gRPC port, with no model."""
    if server == "triton":
        made = pod(server, images.TRITON.reference(), command=("tritonserver", *TRITON))
    else:
        env = [{"name": name, "value": value} for name, value in MLSERVER.items()]
        made = pod(server, images.MLSERVER.reference(), command=("mlserver", "start", "/tmp"), env=env)
    space.apply(made)
    address = space.until(
        "pod", server, lambda p: p["status"]["phase"] == "Running" and p["status"].get("podIP"), "does not run"
    )["status"]["podIP"]
    with space.reach(address, 8001) as here, Client(here) as client:
        wait_until(lambda: _is_live(client), f"{server} does not answer: {space.logs(server)}", within=90, poll=0.5)


def _is_live(client: Client) -> bool:
    try:
        return bool(client.triton.is_server_live())
    except InferenceServerException:
        return False


def test_envoy_is_called_as_the_official_image_is(space: Cluster) -> None:
    """Its command is on PATH."""
    space.apply(pod("envoy", images.ENVOY.reference(), command=("envoy", "--version")))
    space.until("pod", "envoy", lambda p: p["status"]["phase"] == "Succeeded", "did not succeed")
    assert "envoy  version" in space.logs("envoy")

"""The adapter as a sidecar."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.platform.kube.adapter_container import adapter_container
from tests.orchestrator.platform.kube.making import SETTINGS, make_kube_runtime


def test_it_is_told_where_its_server_is_and_what_it_may_fill() -> None:
    """The capacity is the server's memory less the buffer."""
    runtime = make_kube_runtime(adapter={"memBufferBytes": 1 << 30})
    made = adapter_container(runtime, SETTINGS, server="triton", server_port=9000)
    assert made["restartPolicy"] == "Always"
    assert made["command"] == ["python", "-m", "adapters"]
    assert made["args"] == [
        "--listen=[::]:8085",
        "--server-type=triton",
        "--server=$(POD_IP):9000",
        "--model-dir=/models/repository",
        "--scratch=/models/adapter",
        f"--capacity-bytes={1 << 30}",
        "--runtime=triton-2.x",
        "--pod=$(POD_NAME)",
        "--server-log=kubectl logs $(POD_NAME) -c triton",
        "--tls-dir=/etc/wml-serving/tls",
        "--health-port=8086",
        "--drain-port=8087",
        "--drain-seconds=60",
        "--conceal",
    ]
    assert (
        "--conceal"
        not in adapter_container(make_kube_runtime(server_type="mlserver"), SETTINGS, server="triton", server_port=1)[
            "args"
        ]
    )


def test_the_pod_is_ready_when_the_server_is_and_the_server_starts_when_its_repository_is_there() -> None:
    """The sidecar's start is waited for, its health restarts it alone."""
    made = adapter_container(make_kube_runtime(), SETTINGS, server="triton", server_port=8001)
    paths = {kind: made[kind]["httpGet"]["path"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def test_its_environment_and_image_can_be_said() -> None:
    """builtInAdapter.env is its own; a pull policy is of our image."""
    env = [{"name": "HTTPS_PROXY", "value": "http://proxy"}]
    settings = replace(SETTINGS, image_pull_policy="Never")
    made = adapter_container(make_kube_runtime(adapter={"env": env}), settings, server="triton", server_port=8001)
    assert made["env"][-1:] == env
    assert (made["image"], made["imagePullPolicy"]) == (SETTINGS.image, "Never")
    assert "imagePullPolicy" not in adapter_container(make_kube_runtime(), SETTINGS, server="triton", server_port=8001)

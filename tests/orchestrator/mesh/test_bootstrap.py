"""Envoy's bootstrap."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from orchestrator.mesh.bootstrap import BootstrapSettings, bootstrap
from tests.orchestrator.mesh import golden

CASES: Final = {
    "bootstrap-local": BootstrapSettings(
        node_id="mesh-0",
        listen="127.0.0.1:8033",
        admin="unix:/run/admin.sock",
        xds=("unix:/run/xds.sock",),
        activator="unix:/run/activator.sock",
    ),
    "bootstrap-cluster": BootstrapSettings(
        node_id="wml-serving-mesh-7d9f",
        listen="0.0.0.0:8033",
        admin="127.0.0.1:9901",
        xds=("orchestrator-0.wml:8900", "orchestrator-1.wml:8900"),
        activator="127.0.0.1:8902",
        ready="0.0.0.0:8034",
        tls_dir="/etc/wml-serving/tls",
        max_message_bytes=64 << 20,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    """The whole of it, as Envoy reads it."""
    made = bootstrap(CASES[name])
    assert json.loads(json.dumps(made)) == made
    golden.check(name, made)


def test_no_golden_file_is_outdated() -> None:
    """Each belongs to a case."""
    golden.check_none_is_outdated("bootstrap-", set(CASES))


def test_without_a_control_plane_there_is_no_bootstrap() -> None:
    """Envoy would wait for its first snapshot for ever."""
    with pytest.raises(ValueError, match="xds"):
        bootstrap(BootstrapSettings(node_id="n", listen="[::]:1", admin="unix:/a", xds=(), activator="unix:/b"))


def test_nothing_is_retried_after_a_reset() -> None:
    """A poison request would kill server after server."""

    def policies(config: Any) -> list[Any]:
        if isinstance(config, dict):
            own = [config["retry_on"]] if "retry_on" in config else []
            return own + [found for value in config.values() for found in policies(value)]
        return [found for value in config for found in policies(value)] if isinstance(config, list) else []

    found = policies(bootstrap(CASES["bootstrap-local"]))
    assert set(found) == {"connect-failure,refused-stream,retriable-headers"}

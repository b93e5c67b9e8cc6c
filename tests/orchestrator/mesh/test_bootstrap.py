"""Envoy's bootstrap."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from orchestrator.mesh.bootstrap import UNKNOWN_MODEL, BootstrapSettings, bootstrap
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


@pytest.mark.parametrize(
    ("text", "stale"),
    [
        ("Request for unknown model: 'digits' is not found", True),
        ("Request for unknown model: 'digits' has no available versions", True),
        ("Request for unknown model: 'digits' version 1 is not at ready state", True),
        ("Model digits not found", True),
        ("Model digits with version  not found", True),
        ("Model digits is not ready yet.", True),
        ("Request for unknown model: 'digits' version 7 is not found", False),
        ("ValueError: Model digits not found in my table", False),
        ("unexpected inference input 'x' for model 'digits'", False),
    ],
)
def test_which_words_of_a_server_mean_a_stale_route(text: str, stale: bool) -> None:
    """Whole texts only: a model's own error that speaks of models is the caller's to see."""
    assert any(re.fullmatch(pattern, text) for pattern in UNKNOWN_MODEL) is stale


def test_nothing_is_retried_after_a_reset() -> None:
    """A poison request would kill server after server."""

    def policies(config: Any) -> list[Any]:
        if isinstance(config, dict):
            own = [config["retry_on"]] if "retry_on" in config else []
            return own + [found for value in config.values() for found in policies(value)]
        return [found for value in config for found in policies(value)] if isinstance(config, list) else []

    found = policies(bootstrap(CASES["bootstrap-local"]))
    assert set(found) == {"connect-failure,refused-stream,retriable-headers"}

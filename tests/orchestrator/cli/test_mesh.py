"""The files of a mesh pod."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.__main__ import main
from orchestrator.activator.settings import ActivatorSettings
from orchestrator.cli.mesh import ACTIVATOR, ACTIVATOR_FILE, ADMIN, ENVOY_FILE


def test_both_are_told_the_same(tmp_path: Path) -> None:
    """The limits and the leader's name; Envoy reaches the activator where it listens, the activator Envoy's admin API."""
    flags = ["--node-id", "uid-1", "--leader", "wml-serving-orchestrator:8090", "--max-message-bytes", "1000"]
    assert main(["mesh-bootstrap", str(tmp_path), *flags]) == 0
    activator = ActivatorSettings.load(tmp_path / ACTIVATOR_FILE)
    assert (activator.listen, activator.envoy_admin, activator.max_message_bytes) == (ACTIVATOR, ADMIN, 1000)
    assert activator.leader == ("wml-serving-orchestrator:8090",)
    envoy = json.loads((tmp_path / ENVOY_FILE).read_text())
    assert envoy["node"]["id"] == "uid-1"
    text = json.dumps(envoy)
    for said in ("wml-serving-orchestrator", '"max_request_bytes": 1005'):
        assert said in text


def test_the_admin_api_is_for_the_pod_alone(tmp_path: Path) -> None:
    """It can stop the server."""
    assert main(["mesh-bootstrap", str(tmp_path), "--node-id", "n", "--leader", "l:1"]) == 0
    envoy = json.loads((tmp_path / ENVOY_FILE).read_text())
    assert envoy["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_it_is_reached_by_whichever_family_the_pod_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both where the kernel knows both: Envoy would not start where it cannot listen."""
    flags = ["--node-id", "n", "--leader", "l:1"]
    listens = []
    for has_ipv6 in (True, False):
        monkeypatch.setattr("orchestrator.cli.mesh._has_ipv6", lambda has=has_ipv6: has)
        assert main(["mesh-bootstrap", str(tmp_path), *flags]) == 0
        envoy = json.loads((tmp_path / ENVOY_FILE).read_text())
        found = {json.dumps(each["address"]["socket_address"]) for each in envoy["static_resources"]["listeners"]}
        assert len(found) == 2
        listens.append({json.loads(each)["address"] for each in found})
        assert all(("ipv4_compat" in each) == has_ipv6 for each in found)
        health = ActivatorSettings.load(tmp_path / ACTIVATOR_FILE).health
        assert health == ("[::]:8035" if has_ipv6 else "0.0.0.0:8035")
    assert listens == [{"::"}, {"0.0.0.0"}]


@pytest.mark.parametrize("missing", ["--node-id", "--leader"])
def test_what_cannot_be_guessed_is_required(tmp_path: Path, missing: str) -> None:
    """Two pods of one id would take each other for a reconnect."""
    flags = {"--node-id": "n", "--leader": "l:1"}
    del flags[missing]
    with pytest.raises(SystemExit) as refused:
        main(["mesh-bootstrap", str(tmp_path), *(word for pair in flags.items() for word in pair)])
    assert refused.value.code == 2

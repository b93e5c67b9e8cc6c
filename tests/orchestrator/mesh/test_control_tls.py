"""Mutual TLS between Envoy and the orchestrator, as it is configured; that it works is tests/standalone's to show."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.mesh.bootstrap import XDS, BootstrapSettings, bootstrap
from orchestrator.mesh.control_tls import sds_files
from tests.orchestrator.mesh import golden


def clusters(tls_dir: str | None) -> dict[str, Any]:
    made = bootstrap(
        BootstrapSettings(
            node_id="n",
            listen="[::]:1",
            admin="unix:/a",
            xds=("o:1",),
            activator="unix:/b",
            tls_dir=tls_dir,
            sds_dir="/s",
        )
    )
    return {cluster["name"]: cluster for cluster in made["static_resources"]["clusters"]}


def test_the_control_plane_alone_is_dialled_with_it() -> None:
    """The activator is beside Envoy; without a directory nobody is."""
    encrypted = [name for name, cluster in clusters("/t").items() if "transport_socket" in cluster]
    assert encrypted == [XDS]
    assert not any("transport_socket" in cluster for cluster in clusters(None).values())


def test_the_secrets_that_envoy_looks_for_are_in_the_files() -> None:
    """By path and by name."""
    context = clusters("/t")[XDS]["transport_socket"]["typed_config"]["common_tls_context"]
    asked = [*context["tls_certificate_sds_secret_configs"], context["validation_context_sds_secret_config"]]
    files = {f"/s/{name}": content["resources"][0]["name"] for name, content in sds_files("/t").items()}
    assert {a["sds_config"]["path_config_source"]["path"]: a["name"] for a in asked} == files


def test_golden() -> None:
    """The files, as Envoy reads them."""
    made = dict(sds_files("/etc/wml-serving/tls"))
    assert json.loads(json.dumps(made)) == made
    golden.check("sds-files", made)

"""
Mutual TLS between Envoy and the orchestrator: on the cluster of the control plane, and nowhere else.

Envoy gets the certificates as secrets, from files beside the bootstrap
(`sds_files`): only for such secrets does it read the certificates again when
their directory changes. It does so without a restart, and without ending a
connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.mesh.upstream import Config
from orchestrator.transport.identity import AUTHORITIES_FILE, CERTIFICATE_FILE, KEY_FILE, ORCHESTRATOR

IDENTITY: Final = "identity"
AUTHORITIES: Final = "authorities"

_TLS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def transport_socket(sds_dir: str) -> Config:
    """For the cluster of the control plane; `sds_dir` is where Envoy finds `sds_files`."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TLS}.UpstreamTlsContext",
            "sni": ORCHESTRATOR,
            # A resumed session would bring the certificate of an earlier one.
            "max_session_keys": 0,
            "common_tls_context": {
                # gRPC's server insists on it.
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [_from_file(sds_dir, IDENTITY)],
                "validation_context_sds_secret_config": _from_file(sds_dir, AUTHORITIES),
            },
        },
    }


def sds_files(tls_dir: str) -> Mapping[str, Config]:
    """Name → content, as JSON, of the files in `sds_dir`; `tls_dir` has tls.crt, tls.key and ca.crt, and may change."""
    watched = {"watched_directory": {"path": tls_dir}}
    secrets: dict[str, Config] = {
        IDENTITY: {
            "tls_certificate": {
                "certificate_chain": {"filename": f"{tls_dir}/{CERTIFICATE_FILE}"},
                "private_key": {"filename": f"{tls_dir}/{KEY_FILE}"},
                **watched,
            }
        },
        AUTHORITIES: {
            "validation_context": {
                "trusted_ca": {"filename": f"{tls_dir}/{AUTHORITIES_FILE}"},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": ORCHESTRATOR}}],
                **watched,
            }
        },
    }
    return {
        _file(name): {"resources": [{"@type": f"{_TLS}.Secret", "name": name, **secret}]}
        for name, secret in secrets.items()
    }


def _from_file(sds_dir: str, name: str) -> Config:
    return {
        "name": name,
        "sds_config": {"resource_api_version": "V3", "path_config_source": {"path": f"{sds_dir}/{_file(name)}"}},
    }


def _file(name: str) -> str:
    return f"sds-{name}.json"

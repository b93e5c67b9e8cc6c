"""
Envoy's `/ready` for the kubelet's probes, without the rest of its admin API.

The admin API can stop the server, so it listens on loopback only, which a
kubelet's probe cannot reach. This listener passes one path on to the admin API.
An Envoy is ready once it has taken its first snapshot.
"""

from __future__ import annotations

from typing import Final

from orchestrator.mesh.upstream import Config, address, assignment, endpoints

PATH: Final = "/ready"
_CLUSTER: Final = "envoy_admin"


def readiness_listeners(listen: str | None) -> list[Config]:
    """The listener at that address; no listener for None."""
    if listen is None:
        return []
    manager: Config = {
        "@type": "type.googleapis.com/"
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ready",
        "generate_request_id": False,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "name": "ready",
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"path": PATH}, "route": {"cluster": _CLUSTER, "timeout": "1s"}},
                        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
                    ],
                }
            ],
        },
    }
    return [
        {
            "name": "ready",
            "address": address(listen),
            "enable_reuse_port": False,
            "filter_chains": [
                {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
            ],
        }
    ]


def readiness_clusters(listen: str | None, admin: str) -> list[Config]:
    """The admin API as the listener's cluster; no cluster for None."""
    if listen is None:
        return []
    return [
        {
            "name": _CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": assignment(_CLUSTER, [endpoints([admin])]),
        }
    ]

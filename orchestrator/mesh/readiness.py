"""
What a kubelet may ask of an Envoy: its `/ready`, and nothing else of the admin API.

The admin API can stop the server, so it listens on loopback alone, where no
probe of a kubelet comes. This listener passes one path on to it. An Envoy says
that it is ready once it has taken its first snapshot.
"""

from __future__ import annotations

from typing import Final

from orchestrator.mesh.upstream import Config, address, assignment, endpoints

PATH: Final = "/ready"
_CLUSTER: Final = "envoy_admin"


def readiness_listeners(listen: str | None) -> list[Config]:
    """The listener at that address; none for None."""
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
    """The admin API as a cluster of the listener's; none for None."""
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

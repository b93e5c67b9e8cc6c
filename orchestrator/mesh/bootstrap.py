"""
Envoy's bootstrap: everything about the mesh that does not change as models come and go.

One listener with a fixed route table; the clusters of models come over delta
CDS. A request passes, in this order: a header that says whether its cluster has
a server, the script that labels by metadata, the buffer filter (the message
limit), the script that labels by the message, the router. The buffer filter
stands before the script that reads the message because it enforces nothing on
data that another filter has already collected.

If metadata `mm-vmodel-id` names the model and no server holds it, the message is
not collected: the activator does not read it before a server has the model, and
until then it stays with its client, under flow control. Envoy holds no more of
it than a window (WINDOW_BYTES).

A message that names the model itself is collected while there is room (room.py).

Not promised: the message limit covers what clients send in the unary methods.
Streams and answers are bounded by the servers that take and make them. Bytes on
their way to servers and back are bounded by the heap: near its limit the largest
requests are reset, which their clients read as INTERNAL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.domain.unknown_model import UNKNOWN_MODEL
from orchestrator.mesh import lua
from orchestrator.mesh.control_tls import transport_socket
from orchestrator.mesh.overload import overload
from orchestrator.mesh.readiness import readiness_clusters, readiness_listeners
from orchestrator.mesh.replies import local_replies
from orchestrator.mesh.room import Room, Rooms, rooms
from orchestrator.mesh.upstream import (
    COLD,
    DEFAULT_MESSAGE_BYTES,
    FRAME_BYTES,
    MAX_REQUESTS,
    MAX_STREAMS,
    Config,
    address,
    buffer_bytes,
    cluster,
    endpoints,
    is_literal,
    narrow_windows,
)

SERVICE: Final = "inference.GRPCInferenceService"
#: Methods that the product answers itself.
SERVER_METHODS: Final = ("ServerLive", "ServerReady", "ServerMetadata")
MODEL_METHODS: Final = ("ModelInfer", "ModelReady", "ModelMetadata")
STREAM_METHOD: Final = "ModelStreamInfer"

ACTIVATOR: Final = "activator"
XDS: Final = "xds"
#: Requests that one activator may hold at once; Envoy refuses more, so that the activator does not drown.
ACTIVATOR_MAX_REQUESTS: Final = 2_000

_COLD: Final = "envoy.filters.http.header_mutation"
_FROM_HEADERS: Final = "model_from_headers"
_FROM_MESSAGE: Final = "model_from_message"
_BUFFER: Final = "envoy.filters.http.buffer"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapSettings:
    """The settings of one mesh pod. Addresses are `host:port` or `unix:/path`."""

    node_id: str
    listen: str
    admin: str
    #: The orchestrators, leader and standby; Envoy tries the next when one refuses.
    xds: tuple[str, ...]
    activator: str
    #: Address of a listener with `/ready` alone, for probes that cannot reach `admin`; None: no such listener.
    ready: str | None = None
    #: Directory of tls.crt, tls.key and ca.crt for mutual TLS with the orchestrators; None: no TLS.
    tls_dir: str | None = None
    #: With `tls_dir`: where Envoy finds control_tls.sds_files(tls_dir).
    sds_dir: str = "/etc/wml-serving/mesh"
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    #: Near this the largest requests are reset; above 95 % of it, new ones are refused (UNAVAILABLE).
    max_heap_bytes: int = 2 << 30
    max_connections: int = 10_000
    cluster: str = "wml-serving"


def bootstrap(settings: BootstrapSettings) -> Config:
    """The bootstrap as a dict, for Envoy to read as JSON."""
    if not settings.xds:
        raise ValueError("xds: at least one address is needed")
    return {
        "node": {"id": settings.node_id, "cluster": settings.cluster},
        "admin": {"address": address(settings.admin)},
        "dynamic_resources": {"cds_config": _cds()},
        "cluster_manager": {
            "enable_deferred_cluster_creation": True,
            # How often each model is asked for.
            "load_stats_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS}}],
            },
        },
        "static_resources": {
            "listeners": [_listener(settings), *readiness_listeners(settings.ready)],
            "clusters": [*_clusters(settings), *readiness_clusters(settings.ready, settings.admin)],
        },
        # Thousands of model clusters would have a hundred stats each that nobody reads.
        "stats_config": {"stats_matcher": {"exclusion_list": {"patterns": [{"prefix": "cluster.model/"}]}}},
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "overload_manager": overload(max_heap_bytes=settings.max_heap_bytes, max_connections=settings.max_connections),
    }


def _cds() -> Config:
    return {
        "resource_api_version": "V3",
        # A fresh Envoy is not ready before its first snapshot, however late that comes.
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {
                    "envoy_grpc": {
                        "cluster_name": XDS,
                        "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "1s"}},
                    }
                }
            ],
        },
    }


def _clusters(settings: BootstrapSettings) -> list[Config]:
    made = [
        cluster(
            name,
            [endpoints(addresses)],
            static=all(is_literal(text) for text in addresses),
            max_message_bytes=settings.max_message_bytes,
            max_requests=max_requests,
            keepalive=keepalive,
            cold=cold,
        )
        for name, addresses, max_requests, keepalive, cold in (
            (XDS, settings.xds, 100, True, False),
            # No keepalive for the activator: it is on this machine, so its end closes its socket, and one that is
            # frozen goes on with the requests that it holds.
            (ACTIVATOR, (settings.activator,), ACTIVATOR_MAX_REQUESTS, False, True),
        )
    ]
    if settings.tls_dir is not None:
        made[0]["transport_socket"] = transport_socket(settings.sds_dir)
    return made


def _listener(settings: BootstrapSettings) -> Config:
    return {
        "name": "mesh",
        "address": address(settings.listen),
        # A second Envoy on this port is an error, not a rival for half of the connections.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": buffer_bytes(settings.max_message_bytes),
        "filter_chains": [
            {
                "filters": [
                    _extension(
                        "envoy.filters.network.http_connection_manager",
                        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        _connection_manager(settings),
                    )
                ]
            }
        ],
    }


def _connection_manager(settings: BootstrapSettings) -> Config:
    room = rooms(max_heap_bytes=settings.max_heap_bytes, max_message_bytes=settings.max_message_bytes)
    return {
        "stat_prefix": "mesh",
        "codec_type": "HTTP2",
        "http2_protocol_options": {
            **narrow_windows(),
            "max_concurrent_streams": MAX_STREAMS,
        },
        "generate_request_id": False,
        # A held request is an idle stream; the activator bounds how long it is held.
        "stream_idle_timeout": "0s",
        # Clients do not get to steer the router's retries and timeouts.
        "early_header_mutation_extensions": [
            _extension(
                "envoy.http.early_header_mutation.header_mutation",
                "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                {
                    "mutations": [
                        {"remove_on_match": {"key_matcher": {"prefix": prefix}}}
                        for prefix in ("x-envoy-", lua.OUR_HEADERS)
                    ]
                },
            )
        ],
        "local_reply_config": local_replies(
            max_message_bytes=settings.max_message_bytes,
            per_model=MAX_REQUESTS,
            per_activator=ACTIVATOR_MAX_REQUESTS,
        ),
        "http_filters": [
            _extension(
                _COLD,
                "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                {
                    "mutations": {
                        "request_mutations": [
                            {
                                "append": {
                                    "header": {"key": lua.COLD_HEADER, "value": f"%CLUSTER_METADATA({COLD}:{COLD})%"}
                                }
                            }
                        ]
                    }
                },
            ),
            _lua(_FROM_HEADERS, lua.from_headers(room)),
            _extension(
                _BUFFER,
                "envoy.extensions.filters.http.buffer.v3.Buffer",
                {"max_request_bytes": settings.max_message_bytes + FRAME_BYTES},
            ),
            _lua(_FROM_MESSAGE, lua.FROM_MESSAGE),
            _extension(
                "envoy.filters.http.router",
                "envoy.extensions.filters.http.router.v3.Router",
                {"suppress_envoy_headers": True},
            ),
        ],
        "route_config": {
            "name": "mesh",
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    # More than 1 tells the activator that the route was stale.
                    "include_request_attempt_count": True,
                    "request_headers_to_remove": [lua.COLD_HEADER, lua.UNREAD_HEADER, lua.ROOM_HEADER],
                    "routes": _routes(room),
                }
            ],
        },
    }


def _routes(room: Rooms) -> list[Config]:
    to_activator = {"cluster": ACTIVATOR}
    to_model = {
        "inline_cluster_specifier_plugin": {
            "extension": _extension(
                "cluster_of_model",
                "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig",
                {"default_cluster": ACTIVATOR, "source_code": {"inline_string": lua.ROUTE}},
            )
        }
    }
    return [
        *(_route(method, to_activator, off=(_FROM_HEADERS, _FROM_MESSAGE)) for method in SERVER_METHODS),
        *(_unread(_route(method, to_activator)) for method in MODEL_METHODS),
        *(
            _with_room(_route(method, to_model), number, given)
            for number, given in enumerate(room.rooms, start=1)
            if number > 1
            for method in MODEL_METHODS
        ),
        *(_labelled(_route(method, to_model, off=(_FROM_MESSAGE,))) for method in MODEL_METHODS),
        *(_route(method, to_model) for method in MODEL_METHODS),
        _route(STREAM_METHOD, to_model, off=(_BUFFER, _FROM_MESSAGE)),
        {
            "match": {"prefix": "/"},
            # Envoy says UNIMPLEMENTED to gRPC for a 404.
            "direct_response": {
                "status": 404,
                "body": {"inline_string": f"only the inference methods of {SERVICE} are served here"},
            },
            "typed_per_filter_config": _disabled((_FROM_HEADERS, _BUFFER, _FROM_MESSAGE)),
        },
    ]


def _route(method: str, to: Mapping[str, Any], *, off: tuple[str, ...] = ()) -> Config:
    route: Config = {
        "match": {"path": f"/{SERVICE}/{method}", "grpc": {}},
        "route": {
            **to,
            "timeout": "0s",
            # The caller's own deadline, however long.
            "max_stream_duration": {"grpc_timeout_header_max": "0s"},
            "retry_policy": _retries(),
        },
    }
    if off:
        route["typed_per_filter_config"] = _disabled(off)
    return route


def _labelled(route: Config) -> Config:
    """The route of a request that names its model in metadata: its message is not looked at."""
    route["match"]["headers"] = [
        {
            "name": lua.MODEL_HEADER,
            "string_match": {"exact": ""},
            "treat_missing_header_as_empty": True,
            "invert_match": True,
        }
    ]
    return route


def _unread(route: Config) -> Config:
    """The route of a request that is not to be collected here."""
    route["match"]["headers"] = [{"name": lua.UNREAD_HEADER, "present_match": True}]
    # Disabled by the filter's own setting: Envoy chose the filters by the route before this one.
    route["typed_per_filter_config"] = {
        _BUFFER: {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
            "disabled": True,
        }
    }
    return route


def _with_room(route: Config, number: int, room: Room) -> Config:
    """The route of a request that gets a smaller room; the first and largest room is the buffer filter's own limit."""
    route["match"]["headers"] = [{"name": lua.ROOM_HEADER, "string_match": {"exact": str(number)}}]
    route["typed_per_filter_config"] = {
        _BUFFER: {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
            "buffer": {"max_request_bytes": room.size + FRAME_BYTES},
        }
    }
    return route


def _retries() -> Config:
    """
    Another holder first, then the activator. Never `reset`: a poison request would kill server after server.

    The third attempt goes to the activator, within milliseconds. The later ones are for an activator that is being
    restarted: some ten seconds in all, since a request that has reached nobody is not lost yet.
    """
    return {
        "retry_on": "connect-failure,refused-stream,retriable-headers",
        "num_retries": 40,
        "host_selection_retry_max_attempts": 3,
        "retriable_headers": [
            {"name": "grpc-message", "string_match": {"safe_regex": {"regex": text}}} for text in UNKNOWN_MODEL
        ],
        "retry_host_predicate": [
            _extension(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                {},
            )
        ],
        "retry_priority": _extension(
            "envoy.retry_priorities.previous_priorities",
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            {"update_frequency": 2},
        ),
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.5s"},
    }


def _lua(name: str, script: str) -> Config:
    return _extension(
        name,
        "envoy.extensions.filters.http.lua.v3.Lua",
        {"default_source_code": {"inline_string": script}},
    )


def _disabled(names: tuple[str, ...]) -> Config:
    return {
        name: {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True} for name in names
    }


def _extension(name: str, kind: str, config: Mapping[str, Any]) -> Config:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}", **config}}

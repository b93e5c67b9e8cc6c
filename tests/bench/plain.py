"""
An Envoy that only forwards: what any mesh of Envoys costs on this machine at the least.

One route and one server, no filter but the router's, no retries and no control
plane; as many workers as the product's. What the product's own Envoy costs
beside it is the product's part.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestrator.domain.addresses import host_port
from orchestrator.mesh.upstream import address, endpoints
from tests.ports import free_port
from tests.standalone.envoy_stack import envoy_binary
from tests.standalone.stack import listens
from tests.standalone.waiting import wait_until

_KINDS: Final = "type.googleapis.com/envoy.extensions"
_LOOPBACK: Final = "127.0.0.1"


class Plain(NamedTuple):
    """Where it listens, and its process."""

    target: str
    pid: int


@contextmanager
def plain(directory: Path, upstream: str) -> Iterator[Plain]:
    """It runs meanwhile, before the server at `upstream`; its files are in `directory`, which is made."""
    directory.mkdir(parents=True)
    port = free_port()
    config = directory / "envoy.json"
    config.write_text(json.dumps(_bootstrap(port, upstream)))
    # It ends with this process, however that ends.
    leash = ("setpriv", "--pdeathsig", "KILL", str(envoy_binary()))
    options = ("--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning")
    with (directory / "envoy.log").open("wb") as log:
        process = subprocess.Popen([*leash, "--config-path", str(config), *options], stdout=log, stderr=log)
    try:
        wait_until(lambda: listens(port), "the plain Envoy did not start", within=15)
        yield Plain(host_port(_LOOPBACK, port), process.pid)
    finally:
        process.kill()
        process.wait(10)


def _bootstrap(port: int, upstream: str) -> dict[str, Any]:
    http2: dict[str, Any] = {"http2_protocol_options": {}}
    manager = {
        "@type": f"{_KINDS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "codec_type": "HTTP2",
        "http_filters": [_typed("envoy.filters.http.router", "filters.http.router.v3.Router")],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}],
                }
            ]
        },
    }
    protocol = {
        "@type": f"{_KINDS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": http2,
    }
    cluster = {
        "name": "server",
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        "load_assignment": {"cluster_name": "server", "endpoints": [endpoints([upstream])]},
    }
    listener = {
        "name": "plain",
        "address": address(host_port(_LOOPBACK, port)),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _typed(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_KINDS}.{kind}"}}

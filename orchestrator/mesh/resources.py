"""
Routes as Envoy clusters.

A model has one STATIC cluster with its endpoints inline: the holders at
priority 0 and the activator at priority 1, so that a request with a stale route
or for a dead server ends at the activator by Envoy's own retry (law 5: fallback
and retry make routing correct, ACKs only make it fast). A withdrawn route's
cluster has the activator only; the cluster itself stays until it is removed.

A resource's version is the hash of its bytes. A new leader that knows the same
routes therefore publishes the same versions, and no Envoy is sent anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _http_protocol_options
from google.protobuf.json_format import ParseDict

from orchestrator.domain.routes import Route
from orchestrator.mesh.upstream import (
    DEFAULT_MESSAGE_BYTES,
    HTTP_PROTOCOL_OPTIONS,
    MAX_REQUESTS,
    assignment,
    cluster,
    cold_metadata,
    endpoints,
    is_literal,
)

TYPE_URL: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

_PREFIX: Final = "model/"
#: ParseDict looks up the type of the Any in a cluster by name: the import registers it.
_REGISTERED: Final = _http_protocol_options.HttpProtocolOptions.DESCRIPTOR.full_name == HTTP_PROTOCOL_OPTIONS


def resource_name(model: str) -> str:
    """The model's cluster."""
    return _PREFIX + model


def model_of(name: str) -> str | None:
    """The model whose cluster has that name; None if it is no model's."""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Resource:
    """A named, versioned resource; `body` is the serialised cluster."""

    name: str
    version: str
    body: bytes


class ClusterFactory:
    """Makes the clusters of routes. Everything but the name and the endpoints is the same for all."""

    __slots__ = ("_activator", "_base", "_located")

    def __init__(self, *, activator: str, max_message_bytes: int = DEFAULT_MESSAGE_BYTES) -> None:
        _require_literal(activator)
        self._activator = activator
        self._base = cluster(
            "",
            [],
            static=True,
            max_message_bytes=max_message_bytes,
            max_requests=MAX_REQUESTS,
            keepalive=False,
        )
        # Reading JSON is slow, and thousands of models share the endpoints of a few pods.
        self._located = lru_cache(maxsize=1024)(self._locate)

    def cluster(self, route: Route) -> Cluster:
        """The route's cluster; raises ValueError for an endpoint that is not ip:port or unix:/path."""
        made = Cluster()
        made.CopyFrom(self._located(route.endpoints))
        made.name = made.load_assignment.cluster_name = resource_name(route.model)
        return made

    def _locate(self, holders: tuple[str, ...]) -> Cluster:
        """A cluster without a name."""
        for endpoint in holders:
            _require_literal(endpoint)
        base = self._base if holders else {**self._base, "metadata": cold_metadata()}
        tiers = (holders, (self._activator,)) if holders else ((self._activator,),)
        localities = [endpoints(tier, priority=priority) for priority, tier in enumerate(tiers)]
        return ParseDict({**base, "load_assignment": assignment("", localities)}, Cluster())

    def resource(self, route: Route) -> Resource:
        """The route's cluster as it is published."""
        body = self.cluster(route).SerializeToString(deterministic=True)
        return Resource(resource_name(route.model), hashlib.sha256(body).hexdigest()[:16], body)


def _require_literal(text: str) -> None:
    if not is_literal(text):
        raise ValueError(f"endpoint {text!r}: expected ip:port or unix:/path; a STATIC cluster resolves no names")

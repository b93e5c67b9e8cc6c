"""
The published routes. Publishing an equal route changes nothing, not even its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.domain.routes import Route
from orchestrator.mesh.resources import ClusterFactory, Resource


@dataclass(frozen=True, slots=True)
class Published:
    """A route, the resource made from it, and since when it is published."""

    route: Route
    resource: Resource
    since: float


class Snapshot:
    """Model name → its published route and resource."""

    __slots__ = ("_clusters", "_published", "_resources", "resources")

    def __init__(self, clusters: ClusterFactory) -> None:
        self._clusters = clusters
        self._published: dict[str, Published] = {}
        self._resources: dict[str, Resource] = {}
        #: The published resources by name, always current: sessions read this.
        self.resources: Mapping[str, Resource] = MappingProxyType(self._resources)

    def __len__(self) -> int:
        return len(self._published)

    def __iter__(self) -> Iterator[str]:
        return iter(self._published)

    def get(self, model: str) -> Published | None:
        """The model's published route and resource."""
        return self._published.get(model)

    def publish(self, route: Route, now: float) -> Resource | None:
        """The resource that sessions have to be told of; None if the route is published already."""
        known = self._published.get(route.model)
        if known is not None and known.route == route:
            return None
        resource = self._clusters.resource(route)
        self._published[route.model] = Published(route, resource, now)
        self._resources[resource.name] = resource
        return resource

    def remove(self, model: str) -> None:
        """Forget the model; one that is not published is no error."""
        known = self._published.pop(model, None)
        if known is not None:
            del self._resources[known.resource.name]

"""
What the mesh is told of a model, and how far it got.

A route with no endpoints is a withdrawn one: its cluster still exists, with
the activator as its only endpoint (law 3).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests for a model go. Endpoints are `host:port`, sorted; none = to the activator."""

    model: str
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteView:
    """A route as published, and whether every Envoy that exists has accepted it."""

    route: Route
    acked: bool
    #: When this version was published, on the caller's monotonic clock, seconds.
    since: float
    #: When the last missing ACK came; None while one is missing.
    acked_at: float | None = None
    #: An Envoy's words, if one refused the route.
    refused: str = ""

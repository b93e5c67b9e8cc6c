"""
A model's route as the mesh is told it, and which Envoys have accepted it.

A route with no endpoints is withdrawn: its cluster still exists, with the
activator as its only endpoint (law 3: make before break).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests for a model go: to the endpoints (`host:port`, sorted), or to the activator if there are none."""

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
    #: The error text of an Envoy that refused the route.
    refused: str = ""

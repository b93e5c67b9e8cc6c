"""
What all runtime pods have in common: what is said once for a cluster and not in a ServingRuntime.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """Changing any of it replaces all runtime pods, one after the other."""

    namespace: str
    #: The product's own, for the adapter.
    image: str
    image_pull_policy: str = ""
    #: For images that would run as root, on a cluster that gives no user: None on OpenShift, which does.
    run_as_user: int | None = None
    #: From a pod's deletion to SIGKILL: for the hand-over of its models, and for the server's own end.
    grace_s: int = 120
    #: For the hand-over alone.
    drain_s: int = 60

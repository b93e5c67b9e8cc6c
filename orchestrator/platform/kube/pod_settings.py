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
    #: See runtime_user.py; None: the cluster's choice, or the image's.
    run_as_user: int | None = None
    #: From a pod's deletion to SIGKILL: for the hand-over of its models, and for the server's own end.
    grace_s: int = 120
    #: For the hand-over alone.
    drain_s: int = 60

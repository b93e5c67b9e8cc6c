"""
Which pod a copy goes to.

Deterministic: equal inputs give the same pod whatever their order, so that two
looks at one state never disagree.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.fleet import PodView


def choose_pod(pods: Iterable[PodView], *, need: int) -> PodView | None:
    """
    The usable pod with the most free bytes among those with room for `need`.

    `need` 0 = not known yet: any usable pod will do, since the adapter decides finally (law 7: reserve before load).
    """
    fitting = [p for p in pods if p.usable and p.free >= need]
    return min(fitting, key=lambda p: (-p.free, p.pod.uid), default=None)

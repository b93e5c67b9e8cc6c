"""
Claims: which model the room that is being made in a pod is meant for.

Room made for one model does not count for another. Otherwise many models that
lack room at once would have one copy evicted between them, race for its place,
and all but one would begin again.

A claim ends when its model's load is accepted, since the adapter has reserved
the bytes then. It also lapses after LASTS_S: a model that stops waiting does not
cancel its claim. A claim is no promise: a model that comes at the right moment
may take the room, and the loser has another copy evicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: A copy leaves in well under a second once Envoys have accepted that, and the claiming model is looked at then.
LASTS_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Claim:
    pod: str
    need: int
    until: float


class Claims:
    """At most one claim a model. Times are seconds on one monotonic clock."""

    def __init__(self) -> None:
        self._claims: dict[str, _Claim] = {}

    def make(self, model: str, pod: str, need: int, now: float) -> None:
        """The model waits for `need` bytes in this pod. This replaces its earlier claim."""
        self._claims[model] = _Claim(pod, need, now + LASTS_S)

    def end(self, model: str) -> None:
        """The model waits no more."""
        self._claims.pop(model, None)

    def others(self, model: str, pod: str, now: float) -> int:
        """Bytes in this pod that other models wait for."""
        self._claims = {name: claim for name, claim in self._claims.items() if claim.until > now}
        return sum(claim.need for name, claim in self._claims.items() if name != model and claim.pod == pod)

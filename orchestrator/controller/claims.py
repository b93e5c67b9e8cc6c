"""
Room that is being made in pods, by the model that it is made for.

What leaves for one model's sake is not there for another's: else many models
that lack room at once would have one copy leave between them, race for its
place, and all but one begin again.

A claim ends when its model's load is accepted, since the adapter has reserved
the bytes then, and lapses after a while: who gave up says so to nobody.
Not promised: that who claims a place gets it. A model that comes at the right
moment takes it, and the loser has another copy leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: A copy leaves in well under a second once Envoys have accepted that; who claims is looked at whenever one has.
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
        """The model waits for so many bytes in this pod. Its claim from before is void."""
        self._claims[model] = _Claim(pod, need, now + LASTS_S)

    def end(self, model: str) -> None:
        """It waits no more."""
        self._claims.pop(model, None)

    def others(self, model: str, pod: str, now: float) -> int:
        """Bytes in this pod that other models wait for."""
        self._claims = {name: claim for name, claim in self._claims.items() if claim.until > now}
        return sum(claim.need for name, claim in self._claims.items() if name != model and claim.pod == pod)

"""
What a plan can ask for, one value each, and the plan.

Actions hold values only, so that plans can be compared: two plans that ask for
the same are equal, and an empty plan asks for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.domain.fleet import CopyKey, LoadOrder
from orchestrator.domain.routes import Route
from orchestrator.domain.target import Target


@dataclass(frozen=True, slots=True)
class PublishRoute:
    """Make this the model's route. With no endpoints: withdraw it."""

    route: Route


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Delete the model's cluster in every Envoy."""

    model: str


@dataclass(frozen=True, slots=True)
class LoadCopy:
    """
    Command a load.

    `verify`: the copy is believed loaded, but a request was not served there. `hurry`: the copy is being loaded, and by
    now a request waits for it.
    """

    pod: str
    key: CopyKey
    target: Target
    reserve: int
    urgent: bool
    verify: bool = False
    hurry: bool = False

    @property
    def order(self) -> LoadOrder:
        """The command that the pod's adapter gets."""
        return LoadOrder(
            key=self.key,
            source=self.target.source,
            uri=self.target.uri,
            framework=self.target.framework,
            credentials=self.target.credentials,
            reserve=self.reserve,
            urgent=self.urgent,
            timeout_s=self.target.runtime.load_timeout_s,
        )


@dataclass(frozen=True, slots=True)
class UnloadCopy:
    """Command an unload."""

    pod: str
    key: CopyKey


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """Have less recently used copies leave the pod, so that `need` bytes fit."""

    pod: str
    need: int


Action = PublishRoute | RemoveRoute | LoadCopy | UnloadCopy | MakeRoom


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What to do now, and in how many seconds to look again even if nothing happens (None: no need).

    Plans add up: the actions of both, in their order, and the sooner look.
    """

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    #: The model would fit only in another's place, and nobody asks for it.
    stands_by: bool = False

    def __add__(self, other: Plan) -> Plan:
        waits = [wait for wait in (self.requeue_after, other.requeue_after) if wait is not None]
        return Plan(
            actions=(*self.actions, *other.actions),
            requeue_after=min(waits, default=None),
            stands_by=self.stands_by or other.stands_by,
        )

    def without(self, left_out: Iterable[Action], wait_s: float) -> Plan:
        """This plan but for these actions, which are planned anew `wait_s` seconds later if they are still wanted."""
        left_out = frozenset(left_out)
        if left_out.isdisjoint(self.actions):
            return self
        return replace(self, actions=tuple(a for a in self.actions if a not in left_out)) + look_again(wait_s)


def look_again(wait_s: float) -> Plan:
    """Do nothing now and look again in `wait_s` seconds; an empty plan if that is 0 or infinite."""
    return Plan(requeue_after=wait_s) if 0 < wait_s < math.inf else Plan()


def destructive(actions: tuple[Action, ...]) -> frozenset[Action]:
    """The actions that take something away. Nothing unknown may add one (law 9: absence never deletes)."""
    return frozenset(
        a
        for a in actions
        if isinstance(a, UnloadCopy | RemoveRoute | MakeRoom) or (isinstance(a, PublishRoute) and not a.route.endpoints)
    )

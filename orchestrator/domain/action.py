"""
What a plan can ask for, one value each.

Actions hold values only, so that plans can be compared: two plans that ask for
the same are equal, and an empty plan asks for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def destructive(actions: tuple[Action, ...]) -> frozenset[Action]:
    """The actions that take something away. Nothing unknown may add one (law 9: absence never deletes)."""
    return frozenset(
        a
        for a in actions
        if isinstance(a, UnloadCopy | RemoveRoute | MakeRoom) or (isinstance(a, PublishRoute) and not a.route.endpoints)
    )

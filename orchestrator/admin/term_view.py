"""
What one leader's term shows to the admin server, which lives longer than a term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.domain.trained_model import TrainedModel
from orchestrator.machinery.figures import Figure
from orchestrator.ports import FleetView


class Models(Protocol):
    """The desired state, as far as the API shows it."""

    #: Whether there has been a first list.
    @property
    def synced(self) -> bool: ...

    @property
    def models(self) -> Mapping[str, TrainedModel]: ...

    def model(self, name: str) -> TrainedModel | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How much a model is asked for."""

    #: Since when nobody was seen to ask for it; None: it is not loaded.
    idle_s: float | None
    requests_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TermView:
    """All of it is read when somebody asks."""

    epoch: int
    models: Models
    fleet: FleetView
    use: Callable[[str], Use]
    #: Events of one model, newest last.
    events: Callable[[str], list[dict[str, Any]]]
    #: What is wrong with the desired state as it was given, a line each.
    problems: Callable[[], list[str]]
    #: Why the object of a model that is not known is not taken; "" if there is none.
    refused: Callable[[str], str]
    #: Whether the first lists are in, the ports are open and reconciles run.
    working: Callable[[], bool]
    figures: Callable[[], Iterable[Figure]]

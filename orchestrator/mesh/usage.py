"""
What is asked of each model, as the Envoys count it. Pure.

An Envoy counts for itself and tells what it counted since it told last. What it
told is of the past by then: good enough to say which model was used before
which, and no proof that one is not used now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

#: Model → requests a second, of those that were asked for since the last report.
OnUse = Callable[[Mapping[str, float]], None]


class Usage:
    """Sums over Envoys; it holds what each told last, which are the models that it was asked for."""

    def __init__(self, on_use: OnUse) -> None:
        self._on_use = on_use
        #: Whoever counts → model → requests a second.
        self._rates: dict[object, dict[str, float]] = {}

    def report(self, source: object, rates: Mapping[str, float]) -> None:
        """Of each model that was asked for, requests a second since the last report; 0 where one is under way only."""
        self._rates[source] = dict(rates)
        if rates:
            self._on_use(rates)

    def gone(self, source: object) -> None:
        """It counts no more."""
        self._rates.pop(source, None)

    def rate(self, model: str) -> float:
        """Requests a second, of all Envoys."""
        return sum(rates.get(model, 0.0) for rates in self._rates.values())

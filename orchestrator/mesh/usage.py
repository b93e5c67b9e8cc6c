"""
Requests to each model, as the Envoys count them. Pure.

Each Envoy counts its own requests and reports those since its last report.
Reports lag by one interval: good enough to say which model was used more
recently than another, and no proof that a model is not used now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

#: Gets model → requests a second, of the models that had requests since the last report.
OnUse = Callable[[Mapping[str, float]], None]


class Usage:
    """Adds up the Envoys' last reports. A report names only models that had requests, so this stays small."""

    def __init__(self, on_use: OnUse) -> None:
        self._on_use = on_use
        #: Envoy's stream → model → requests a second.
        self._rates: dict[object, dict[str, float]] = {}

    def report(self, source: object, rates: Mapping[str, float]) -> None:
        """Model → requests a second since the last report of `source`; 0: requests were only under way."""
        self._rates[source] = dict(rates)
        if rates:
            self._on_use(rates)

    def gone(self, source: object) -> None:
        """The Envoy's stream has ended."""
        self._rates.pop(source, None)

    def rate(self, model: str) -> float:
        """Requests a second for the model, through all Envoys."""
        return sum(rates.get(model, 0.0) for rates in self._rates.values())

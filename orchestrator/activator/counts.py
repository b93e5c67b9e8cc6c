"""
What an activator holds, and what it refused, as plain numbers that a scrape reads.
"""

from __future__ import annotations

from orchestrator.activator.budget import Budget
from orchestrator.machinery.figures import Counter, Figure, gauge, gauges


class ActivatorCounts:
    """Of one process."""

    def __init__(self) -> None:
        self._errors = Counter(
            "wml_activator_errors",
            "Requests that were answered here with an error, by gRPC status: RESOURCE_EXHAUSTED is over a bound.",
            "code",
        )
        self._errors.expect("RESOURCE_EXHAUSTED")

    def ended(self, code: str) -> None:
        """A request was answered with that status, which is no server's."""
        self._errors.add(code)

    def figures(self, *, held: int, streams: int, connected: bool, budget: Budget) -> list[Figure]:
        """As they stand, with what is held now."""
        pools = {"early": budget.early, "requests": budget.requests, "responses": budget.responses}
        return [
            self._errors.read(),
            gauge("wml_activator_held_requests", "Requests that wait, or are on their way to a server.", held),
            gauge("wml_activator_streams", "Streams that pass through here.", streams),
            gauge("wml_activator_leader_heard", "1 once a leader was heard.", int(connected)),
            gauges(
                "wml_activator_held_bytes",
                "Bytes of messages that are held, or room is kept for.",
                ("pool",),
                {(name,): pool.used for name, pool in pools.items()},
            ),
            gauges(
                "wml_activator_held_bytes_limit",
                "Bytes that may be held.",
                ("pool",),
                {(name,): pool.total for name, pool in pools.items()},
            ),
        ]

"""
What is asked of the API server and how it answers, counted; and until when certificates are good.

These outlive a leader's term: a standby asks, too, and an API server that is
away is the same trouble on both.
"""

from __future__ import annotations

from typing import Final

from orchestrator.machinery.figures import Counter, Figure, gauges

#: In the place of a code where there was no answer.
UNREACHABLE: Final = "unreachable"


class KubeCounts:
    """Of one process."""

    def __init__(self) -> None:
        self._requests = Counter(
            "wml_kube_requests",
            f'Requests to the API server by verb and HTTP status; "{UNREACHABLE}" where there was no answer.',
            "verb",
            "code",
        )
        self._relists = Counter("wml_watch_relists", "Lists after the first, by resource.", "resource")
        self._expiries: dict[tuple[str, ...], float] = {}

    def requested(self, verb: str, status: int | None) -> None:
        """A request ended with this status; None: there was no answer."""
        self._requests.add(verb, UNREACHABLE if status is None else str(status))

    def relisted(self, resource: str) -> None:
        """A watch could not go on from where it was."""
        self._relists.add(resource)

    def expires(self, role: str, unix_s: float) -> None:
        """Until when the certificate of that role is good."""
        self._expiries[role,] = unix_s

    def figures(self) -> list[Figure]:
        """As they stand."""
        return [
            self._requests.read(),
            self._relists.read(),
            gauges(
                "wml_certificate_expiry_timestamp_seconds",
                "Until when the certificate of a role is good, in seconds since 1970.",
                ("role",),
                self._expiries,
            ),
        ]

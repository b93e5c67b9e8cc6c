"""
What is asked of the API server and how it answers, counted; and until when certificates are good.

These outlive a leader's term: a standby asks, too, and an API server that is
away is the same trouble on both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import aiohttp

from orchestrator.machinery.figures import Counter, Figure, gauges

Raw = dict[str, Any]

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

    def trace(self) -> aiohttp.TraceConfig:
        """For a session of aiohttp: has its requests counted as their answers begin, or do not."""
        config = aiohttp.TraceConfig()

        async def answered(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
            self.requested(_verb(params.method, watch="watch" in params.url.query), params.response.status)

        async def failed(_: object, __: object, params: aiohttp.TraceRequestExceptionParams) -> None:
            # A timeout cancels what it bounds, and so does the end of a term: that is one too many, once.
            self.requested(_verb(params.method, watch="watch" in params.url.query), None)

        config.on_request_end.append(answered)
        config.on_request_exception.append(failed)
        return config

    def lists(self, resource: str, on_list: Callable[[list[Raw]], None]) -> Callable[[list[Raw]], None]:
        """A reflector's `on_list` that counts: after the first, each is of a watch that could not go on where it was."""
        self._relists.expect(resource)
        seen = False

        def listed(items: list[Raw]) -> None:
            nonlocal seen
            if seen:
                self._relists.add(resource)
            seen = True
            on_list(items)

        return listed

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


def _verb(method: str, *, watch: bool) -> str:
    return "watch" if watch else method.lower()

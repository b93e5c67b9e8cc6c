"""
What is asked of the API server and how it answers, counted; and until when certificates are good.

These outlive a leader's term: a standby asks, too, and an API server that is
away is the same trouble on both.
"""

from __future__ import annotations

from typing import Final

import aiohttp
from yarl import URL

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
        #: What was listed once: path and selectors.
        self._lists: set[tuple[str, str, str]] = set()
        self._expiries: dict[tuple[str, ...], float] = {}

    def requested(self, verb: str, status: int | None) -> None:
        """A request ended with this status; None: there was no answer."""
        self._requests.add(verb, UNREACHABLE if status is None else str(status))

    def trace(self) -> aiohttp.TraceConfig:
        """For a session of aiohttp: has its requests counted as their answers begin, or do not."""
        config = aiohttp.TraceConfig()

        async def answered(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
            verb = _verb(params.method, params.url)
            self.requested(verb, params.response.status)
            if verb == "list" and params.response.ok:
                self._listed(params.url)

        async def failed(_: object, __: object, params: aiohttp.TraceRequestExceptionParams) -> None:
            # A timeout cancels what it bounds, and so does the end of a term: that is one too many, once.
            self.requested(_verb(params.method, params.url), None)

        config.on_request_end.append(answered)
        config.on_request_exception.append(failed)
        return config

    def _listed(self, url: URL) -> None:
        """The first list of each watch is none again; nor is a further page."""
        if "continue" in url.query:
            return
        asked = (url.path, url.query.get("labelSelector", ""), url.query.get("fieldSelector", ""))
        if asked in self._lists:
            self._relists.add(url.name)
        else:
            self._lists.add(asked)
            self._relists.expect(url.name)

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


def _verb(method: str, url: URL) -> str:
    """The method in small letters; a watch and a list, which always has a limit here, are told from a get."""
    if "watch" in url.query:
        return "watch"
    return "list" if "limit" in url.query else method.lower()

"""
A standby's answer to what only the leader knows: the leader's, fetched for the caller.

Not a redirect: who came through `kubectl port-forward` to this pod cannot reach
an address of another. What was forwarded once is not forwarded again, since two
replicas that take each other for the leader would pass it back and forth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

#: Shorter than the patience of `wml-serving get`, which then reads our words instead of none.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)
_FORWARDED: Final = "x-wml-forwarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who leads, and the host:port of its admin server ("": not known)."""

    name: str
    address: str = ""


class Forwarder:
    """Asks leaders. To be made on a running event loop, and closed."""

    def __init__(self) -> None:
        # The leader is near: a proxy for the world would only be in the way (trust_env is off unless asked for).
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)

    async def close(self) -> None:
        """End what is under way."""
        await self._session.close()

    async def ask(self, leader: Leader | None, request: web.Request) -> web.Response:
        """The leader's answer to this request; 503 with a message that names the leader if there is none."""
        if leader is None:
            return unavailable("this replica stands by, and none is known to lead: try again in some seconds")
        if not leader.address or _FORWARDED in request.headers:
            return unavailable(f"this replica stands by; {leader.name} leads: ask it")
        url = URL(f"http://{leader.address}{request.rel_url.raw_path_qs}", encoded=True)
        try:
            async with self._session.get(url, headers={_FORWARDED: "1"}, allow_redirects=False) as answer:
                body = await answer.read()
                return web.Response(status=answer.status, body=body, content_type=answer.content_type)
        except (aiohttp.ClientError, OSError) as error:
            # A time-out is an OSError, and has no words.
            why = str(error) or "it took too long"
            return unavailable(f"this replica stands by; {leader.name} leads and does not answer: {why}")


def unavailable(message: str) -> web.Response:
    """Not now, and why."""
    return web.json_response({"message": message}, status=503)

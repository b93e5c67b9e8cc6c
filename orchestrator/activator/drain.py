"""
The end of the Envoy beside this activator, in order.

Envoy's container cannot do it: the official image has nothing but Envoy in it,
and a kubelet's hook reaches the pod's address only, never the admin API on
loopback. So the hook asks here, and is answered when the Envoy may go: its
connections were told to leave (GOAWAY), its listeners have closed, and nothing
is under way in it any more.

Before the listeners close that proves nothing. A client that is told to leave
dials the addresses that it knows, this one among them, for as long as somebody
listens: gRPC's looks a name up twice a minute at most. Who dialled in the last
moment is told with the first answer, and its connection closes some seconds
later: until then one without a request may be about to have one.

Not promised: that nobody connects late. A client that does not hear of a pod's
end for longer than the deadline meets a closed port, and dials the next. Nor
that a client is told that asks for nothing all the while.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
import structlog

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.25
_ANSWER_S: Final = 2.0
#: It says that it is not ready any more; its listeners go on for --drain-time-s, and end then.
_DRAIN: Final = ("/healthcheck/fail", "/drain_listeners?graceful&skip_exit")
_STATS: Final = "/stats?filter=^http[.]mesh[.]downstream_(cx|rq)_active$"
_STAT: Final = re.compile(r"^http\.mesh\.downstream_(cx|rq)_active: (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What an Envoy has under way."""

    connections: int
    requests: int


def parse_load(stats: str) -> Load | None:
    """From the text of /stats; None if it does not say."""
    found = {name: int(number) for name, number in _STAT.findall(stats)}
    return Load(found["cx"], found["rq"]) if found.keys() >= {"cx", "rq"} else None


class EnvoyDrain:
    """Drains one Envoy, once, whoever asks and how often."""

    def __init__(self, admin: str, *, least_s: float, idle_s: float, most_s: float, clock: Callable[[], float]) -> None:
        """
        `admin` is the admin API's address, `host:port` or `unix:/path`.

        Its listeners have closed after `least_s`: until then a client may be about to connect. Requests are waited for
        until `most_s`; connections without one for `idle_s` after the listeners, in which all close that were told to.
        """
        self._admin = admin
        self._least_s = least_s
        self._idle_s = least_s + idle_s
        self._most_s = most_s
        self._clock = clock
        self._task: asyncio.Task[str] | None = None

    async def __call__(self) -> str:
        """Return when the Envoy may end; how it came to that, in a line."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="drain")
        # Whoever asked may go away; the drain goes on.
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        """Stop waiting."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> str:
        began = self._clock()
        log.info("drain_started", envoy=self._admin)
        async with self._session() as session:
            try:
                for command in _DRAIN:
                    async with session.post(command) as response:
                        response.raise_for_status()
                while True:
                    result = self._ended(await self._load(session), self._clock() - began)
                    if result:
                        break
                    await asyncio.sleep(_POLL_S)
            except (aiohttp.ClientError, TimeoutError) as error:
                # An Envoy that does not answer is gone, or will not be any better for being waited for.
                result = f"it does not answer: {type(error).__name__}"
        log.info("drain_ended", envoy=self._admin, result=result, duration_s=round(self._clock() - began, 1))
        return result

    def _ended(self, load: Load | None, waited_s: float) -> str:
        """How it came to an end; empty: it has not."""
        if load is not None and not load.requests and waited_s >= (self._idle_s if load.connections else self._least_s):
            return f"nothing is under way, {load.connections} idle connections are left"
        return f"given up after {self._most_s:g} s with {load}" if waited_s >= self._most_s else ""

    async def _load(self, session: aiohttp.ClientSession) -> Load | None:
        async with session.get(_STATS) as response:
            return parse_load(await response.text())

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        if self._admin.startswith("unix:"):
            connector = aiohttp.UnixConnector(self._admin.removeprefix("unix:"))
            return aiohttp.ClientSession("http://admin", connector=connector, timeout=timeout)
        return aiohttp.ClientSession(f"http://{self._admin}", timeout=timeout)

"""
What is asked of a mesh pod's activator: whether it lives, what it holds, and to drain the Envoy beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from orchestrator.machinery.exposition import CONTENT_TYPE, exposition
from orchestrator.machinery.figures import Figure


class HealthServer:
    """Plain HTTP on one host:port until closed."""

    def __init__(
        self, drain: Callable[[], Awaitable[str]], figures: Callable[[], Iterable[Figure]] = lambda: ()
    ) -> None:
        """`drain` returns when the Envoy may end; `figures` are read at each scrape."""
        self._drain = drain
        self._figures = figures
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", _healthz),
                web.get("/drain", self._on_drain),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def start(self, host: str, port: int) -> None:
        """Raises OSError where the address cannot be had."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def close(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=exposition(self._figures()), headers={"Content-Type": CONTENT_TYPE})

    async def _on_drain(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"{await self._drain()}\n")


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")

"""
What is asked of a mesh pod's activator: whether it lives, what it holds, and to drain the Envoy beside it.

The last has a port of its own: to ask for it takes the pod out of service, so
that it is for the kubelet alone, and whoever scrapes may ask for the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

from aiohttp import web

from orchestrator.domain.addresses import http_host
from orchestrator.machinery.exposition import CONTENT_TYPE, exposition
from orchestrator.machinery.figures import Figure


class HealthServer:
    """Plain HTTP on one host until closed."""

    def __init__(
        self, drain: Callable[[], Awaitable[str]], figures: Callable[[], Iterable[Figure]] = lambda: ()
    ) -> None:
        """`drain` returns when the Envoy may end; `figures` are read at each scrape."""
        self._drain = drain
        self._figures = figures
        self._stack = AsyncExitStack()

    async def start(self, host: str, port: int, drain_port: int = 0) -> None:
        """Raises OSError where an address cannot be had."""
        await self._serve(host, port, [web.get("/healthz", _healthz), web.get("/metrics", self._metrics)])
        if drain_port:
            await self._serve(host, drain_port, [web.get("/drain", self._on_drain)])

    async def close(self) -> None:
        """Stop serving."""
        await self._stack.aclose()

    async def _serve(self, host: str, port: int, routes: list[web.RouteDef]) -> None:
        application = web.Application()
        application.add_routes(routes)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        self._stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, http_host(host), port).start()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=exposition(self._figures()), headers={"Content-Type": CONTENT_TYPE})

    async def _on_drain(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"{await self._drain()}\n")


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")

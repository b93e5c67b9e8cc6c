"""
What a kubelet asks of a mesh pod's activator: whether it lives, and to drain the Envoy beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web


class HealthServer:
    """Plain HTTP on one host:port until closed."""

    def __init__(self, drain: Callable[[], Awaitable[str]]) -> None:
        """`drain` returns when the Envoy may end."""
        self._drain = drain
        application = web.Application()
        application.add_routes([web.get("/healthz", _healthz), web.get("/drain", self._on_drain)])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def start(self, host: str, port: int) -> None:
        """Raises OSError where the address cannot be had."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def close(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()

    async def _on_drain(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"{await self._drain()}\n")


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")

"""
The probes of a runtime pod, over plain HTTP.

    /healthz  200 while the adapter's event loop runs
    /readyz   200 while requests may be sent to the model server; else 503 and one line why not
    /livez    503 when the model server has hung: for its liveness probe
    /metrics  the adapter's copies and bytes, for Prometheus
    /drain    returns when the server's models have been moved: for its preStop hook

In a cluster /drain has a port of its own: a request to it takes the pod out of
service, so only the kubelet may send one. A scraper may ask for the others.

A server that hangs keeps its connection and answers nothing. But so does a server
that loads a large model in its only thread. So while a load or an unload is under
way, silence proves nothing for as long as that one may take. After that it does:
what was sent to a hung server stays under way until the server is restarted.
MLServer also makes predictions in the thread that answers probes: its patience is
as long as most clients wait for a prediction. Triton answers probes from a thread
of its own, and is late only on a very busy machine.

No answer holds a user's names or texts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, Protocol

from aiohttp import web

from adapters.domain.copies import ServerState
from adapters.drain import Drain
from adapters.ledger import Ledger
from adapters.metrics import CONTENT_TYPE, exposition
from adapters.server import AdapterService

#: Type of server → for how many seconds it may be silent without having hung.
PATIENCE_S: Final = {"triton": 15.0, "mlserver": 120.0}


class Pulse(Protocol):
    """For how long the server has been silent."""

    @property
    def silent_s(self) -> float:
        """For how many seconds the server has not answered, on a connection that stands."""


class Health:
    """The answers. All are from memory at once, except `drain`, which waits."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        service: AdapterService,
        pulse: Pulse,
        drain: Drain,
        patience_s: float,
        busy_s: Callable[[], float],
    ) -> None:
        """
        A server that is silent for `patience_s` has hung; one that loads or unloads may be for longer.

        `busy_s`: for how much longer, seconds: as long as what is under way may take, 0 if nothing is.
        """
        self._ledger = ledger
        self._service = service
        self._pulse = pulse
        self._drain = drain
        self._patience_s = patience_s
        self._busy_s = busy_s

    def app(self, *, probes: bool = True, drain: bool = True) -> web.Application:
        """The routes, or a part of them."""
        app = web.Application()
        if probes:
            app.router.add_get("/healthz", self._healthz)
            app.router.add_get("/readyz", self._readyz)
            app.router.add_get("/livez", self._livez)
            app.router.add_get("/metrics", self._metrics)
        if drain:
            app.router.add_get("/drain", self._drained)
        return app

    @property
    def unready(self) -> str:
        """Why the server takes no requests; empty if it does."""
        if self._service.stopping:
            return "the adapter is stopping"
        if self._ledger.draining:
            return "the pod drains"
        if self._ledger.server is not ServerState.READY:
            return f"the model server is not ready: {self._ledger.server.value}"
        return ""

    @property
    def hung(self) -> str:
        """Why the server has hung; empty if it has not."""
        silent_s = self._pulse.silent_s
        if silent_s < self._patience_s + self._busy_s():
            return ""
        return f"the model server is connected and has not answered for {silent_s:.0f} s"

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        return _verdict(self.unready)

    async def _livez(self, _: web.Request) -> web.Response:
        return _verdict(self.hung)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=exposition(self._ledger), headers={"Content-Type": CONTENT_TYPE})

    async def _drained(self, _: web.Request) -> web.Response:
        return web.Response(text=f"left: {await self._drain.wait()}\n")


async def serve(
    health: Health, *, host: str | None = None, port: int = 0, drain_port: int = 0, socket: str = ""
) -> AsyncExitStack:
    """Listen at each address given (`socket`: all routes). The caller closes the stack. OSError if one is taken."""
    async with AsyncExitStack() as stack:
        if port:
            await web.TCPSite(await _runner(health.app(drain=False), stack), host, port).start()
        if drain_port:
            await web.TCPSite(await _runner(health.app(probes=False), stack), host, drain_port).start()
        if socket:
            await web.UnixSite(await _runner(health.app(), stack), socket).start()
        return stack.pop_all()


async def _runner(app: web.Application, stack: AsyncExitStack) -> web.AppRunner:
    # A request that waits for /drain must not keep the process from ending.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    return runner


def _verdict(problem: str) -> web.Response:
    return web.Response(status=503, text=f"{problem}\n") if problem else web.Response(text="ok\n")

"""
The admin API: what `wml-serving get` and `describe` read, and health for probes.

Read-only and plain HTTP; it shows no credentials because nothing it is given
holds any. `/healthz` says that the event loop turns, `/readyz` that the first
lists are in and reconciles run. Before the first list there is no word on
models: what has not been read is not taken for absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from orchestrator.admin.views import live_view, object_view
from orchestrator.domain.fleet import PodView
from orchestrator.domain.trained_model import TrainedModel
from orchestrator.ports import FleetView


class Models(Protocol):
    """The desired state, as far as the API shows it."""

    #: Whether there has been a first list.
    @property
    def synced(self) -> bool: ...

    @property
    def models(self) -> Mapping[str, TrainedModel]: ...

    def model(self, name: str) -> TrainedModel | None: ...


class AdminServer:
    """Serves one host:port until closed."""

    def __init__(
        self,
        *,
        models: Models,
        fleet: FleetView,
        events: Callable[[str], list[dict[str, Any]]],
        problems: Callable[[], list[str]],
        ready: Callable[[], bool],
        service: Mapping[str, Any],
    ) -> None:
        self._models = models
        self._fleet = fleet
        self._events = events
        self._problems = problems
        self._ready = ready
        self._service = service
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/v1/service", self._get_service),
                web.get("/v1/problems", self._get_problems),
                web.get("/v1/trainedmodels", self._list),
                web.get("/v1/trainedmodels/{name}", self._get),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> None:
        """Raises OSError where the address cannot be had."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def close(self) -> None:
        """Stop serving; requests under way get a second."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n") if self._ready() else web.Response(status=503, text="starting\n")

    async def _get_service(self, _request: web.Request) -> web.Response:
        return web.json_response(dict(self._service))

    async def _get_problems(self, _request: web.Request) -> web.Response:
        return _json({"problems": self._problems()})

    async def _list(self, _request: web.Request) -> web.Response:
        if not self._models.synced:
            return _starting()
        items = [self._view(self._models.model(name), name) for name in sorted(self._models.models)]
        return _json({"apiVersion": "v1", "kind": "List", "items": [i for i in items if i is not None]})

    async def _get(self, request: web.Request) -> web.Response:
        if not self._models.synced:
            return _starting()
        name = request.match_info["name"]
        view = self._view(self._models.model(name), name)
        if view is None:
            return web.json_response({"message": f'trainedmodels "{name}" not found'}, status=404)
        return _json(view | {"events": self._events(name)})

    def _view(self, model: TrainedModel | None, name: str) -> dict[str, Any] | None:
        if model is None:
            return None
        copies = self._fleet.copies(name)
        pods: dict[str, PodView] = {c.pod: p for c in copies if (p := self._fleet.pod(c.pod)) is not None}
        return object_view(model) | {"live": live_view(copies, pods)}


def _starting() -> web.Response:
    return web.json_response({"message": "the controller starts, and has not read the directory yet"}, status=503)


def _json(value: dict[str, Any]) -> web.Response:
    # What YAML makes a date of is shown as text: one odd label must not hide all models.
    return web.json_response(text=json.dumps(value, default=str))

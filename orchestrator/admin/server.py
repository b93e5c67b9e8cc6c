"""
The admin server: health for probes, metrics, and what `wml-serving get` and `describe` read.

Read-only and plain HTTP; it shows no credentials because nothing it is given
holds any. It lives as long as the process, on a standby too: a leader's term
attaches its view, and detaches it. Without a term there is no word on models
but the leader's, and before the first list there is none at all: what has not
been read is not taken for absent.

`/healthz` fails if the process should be started again: one of `checks` says
that something has stood still for too long; that the event loop turns is shown
by the answer. `/readyz` says whether the replica does its part: it leads and
works, or it is ready to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from aiohttp import web

from orchestrator.admin.leader import Forwarder, Leader, unavailable
from orchestrator.admin.term_view import TermView
from orchestrator.admin.views import live_view, object_view
from orchestrator.domain.addresses import http_host
from orchestrator.domain.fleet import PodView
from orchestrator.domain.trained_model import TrainedModel
from orchestrator.machinery.exposition import CONTENT_TYPE, exposition
from orchestrator.machinery.figures import Figure, gauge

log = structlog.get_logger(__name__)


class AdminServer:
    """Serves one host:port until closed."""

    def __init__(
        self,
        *,
        service: Mapping[str, Any],
        checks: Mapping[str, Callable[[], str]] | None = None,
        standby: Callable[[], str] = lambda: "starting",
        leader: Callable[[], Leader | None] = lambda: None,
        figures: Callable[[], Iterable[Figure]] = lambda: (),
    ) -> None:
        """`checks` and `standby` say what is wrong, "" if nothing is; `figures` are those that outlive a term."""
        self._service = service
        self._checks = dict(checks or {})
        self._standby = standby
        self._leader = leader
        self._figures = figures
        self._term: TermView | None = None
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/v1/service", self._get_service),
                web.get("/v1/problems", self._get_problems),
                web.get("/v1/trainedmodels", self._list),
                web.get("/v1/trainedmodels/{name}", self._get),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        self._forwarder: Forwarder | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises OSError where the address cannot be had."""
        await self._runner.setup()
        await web.TCPSite(self._runner, http_host(host), port).start()

    async def close(self) -> None:
        """Stop serving; requests under way get a second."""
        await self._runner.cleanup()
        if self._forwarder is not None:
            await self._forwarder.close()
            self._forwarder = None

    def attach(self, term: TermView) -> None:
        """This replica leads from now on."""
        self._term = term

    def detach(self) -> None:
        """The term is over."""
        self._term = None

    async def _healthz(self, _request: web.Request) -> web.Response:
        found = ((name, check()) for name, check in self._checks.items())
        if problems := [f"{name}: {problem}\n" for name, problem in found if problem]:
            log.error("unhealthy", problems=[line.rstrip() for line in problems])
            return web.Response(status=503, text="".join(problems))
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._term is not None:
            working = self._term.working()
            return web.Response(text="leading\n") if working else web.Response(status=503, text="starting\n")
        if problem := self._standby():
            return web.Response(status=503, text=f"{problem}\n")
        return web.Response(text="standby\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        term = self._term
        figures = [
            *self._figures(),
            gauge("wml_leader", "1 if this replica leads.", int(term is not None)),
            gauge("wml_epoch", "The epoch of this replica's term, 0 without one.", term.epoch if term else 0),
            *(term.figures() if term else ()),
        ]
        return web.Response(body=exposition(figures), headers={"Content-Type": CONTENT_TYPE})

    async def _get_service(self, _request: web.Request) -> web.Response:
        return web.json_response(dict(self._service))

    async def _get_problems(self, request: web.Request) -> web.Response:
        if self._term is None:
            return await self._ask_leader(request)
        return _json({"problems": self._term.problems()})

    async def _list(self, request: web.Request) -> web.Response:
        term = self._term
        if term is None:
            return await self._ask_leader(request)
        if not term.models.synced:
            return _starting()
        items = [_view(term, term.models.model(name), name) for name in sorted(term.models.models)]
        return _json({"apiVersion": "v1", "kind": "List", "items": [i for i in items if i is not None]})

    async def _get(self, request: web.Request) -> web.Response:
        term = self._term
        if term is None:
            return await self._ask_leader(request)
        if not term.models.synced:
            return _starting()
        name = request.match_info["name"]
        view = _view(term, term.models.model(name), name)
        if view is None:
            why = term.refused(name)
            said = f"was refused: {why}" if why else "not found"
            return web.json_response({"message": f'trainedmodels "{name}" {said}'}, status=404)
        return _json(view | {"events": term.events(name)})

    async def _ask_leader(self, request: web.Request) -> web.Response:
        if self._forwarder is None:
            self._forwarder = Forwarder()
        return await self._forwarder.ask(self._leader(), request)


def _view(term: TermView, model: TrainedModel | None, name: str) -> dict[str, Any] | None:
    if model is None:
        return None
    copies = term.fleet.copies(name)
    pods: dict[str, PodView] = {c.pod: p for c in copies if (p := term.fleet.pod(c.pod)) is not None}
    return object_view(model) | {"live": live_view(copies, pods, term.use(name))}


def _starting() -> web.Response:
    return unavailable("the controller starts, and has not read the objects yet")


def _json(value: dict[str, Any]) -> web.Response:
    # What YAML makes a date of is shown as text: one odd label must not hide all models.
    return web.json_response(text=json.dumps(value, default=str))

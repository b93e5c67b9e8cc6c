"""The admin API, over a real socket."""

from __future__ import annotations

import datetime
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from orchestrator.admin.leader import Leader
from orchestrator.admin.server import AdminServer
from orchestrator.admin.term_view import TermView, Use
from orchestrator.controller.desired import DesiredState
from orchestrator.domain.addresses import ANYWHERE, host_port
from orchestrator.domain.fleet import ServerState
from orchestrator.fleet.observed import ObservedFleet, Report
from orchestrator.machinery.figures import Counter, gauge
from tests.families import LOOPBACKS
from tests.orchestrator.builders import make_copy, make_model, make_pod, make_raw_model, make_runtime
from tests.orchestrator.controller.bench import secret


class Stack:
    """A server with two models, one of them loaded."""

    def __init__(self) -> None:
        self.desired = DesiredState()
        odd = make_raw_model("odd")
        odd["metadata"]["labels"] = {"released": datetime.date(2026, 1, 2)}
        models = {"digits": make_model(raw=make_raw_model()), "odd": make_model("odd", raw=odd)}
        self.desired.replace(
            models=models,
            runtimes={"mlserver-0.x": make_runtime()},
            storage=secret(secret_access_key="hunter2"),
            config={},
        )
        self.fleet = ObservedFleet()
        self.fleet.list_pods([make_pod()])
        self.fleet.report("p1", Report(boot="b", full=True, server=ServerState.READY, copies=(make_copy(),)))
        self.working = False
        self.unhealthy = ""
        self.standing_by = "no lists yet"
        self.leader: Leader | None = None
        self.loads = Counter("wml_loads", "Loads.", "runtime")
        self.server = AdminServer(
            service={"name": "wml-serving", "grpcPort": 8033},
            checks={"lease": lambda: self.unhealthy},
            standby=lambda: self.standing_by,
            leader=lambda: self.leader,
            figures=lambda: [gauge("wml_always", "Outlives terms.", 1)],
        )

    def lead(self) -> None:
        """A term begins."""
        self.server.attach(
            TermView(
                epoch=7,
                models=self.desired,
                fleet=self.fleet,
                use=lambda name: Use(idle_s=3.5, requests_per_s=0.25),
                events=lambda name: [{"reason": f"of {name}"}],
                problems=lambda: ["a.yaml:6: TrainedModel 'typo': spec.model.memory: required"],
                refused=lambda name: {"typo": "spec.model.memory: required"}.get(name, ""),
                working=lambda: self.working,
                figures=lambda: [self.loads.read()],
            )
        )

    async def start(self, host: str = "127.0.0.1") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        await self.server.start(host, self.port)

    async def get(self, path: str) -> tuple[int, Any]:
        address = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(URL(address, encoded=True)) as response:
            text = await response.text()
            assert "hunter2" not in text
            return response.status, json.loads(text) if "json" in response.content_type else text


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    stack = Stack()
    stack.lead()
    await stack.start()
    yield stack
    await stack.server.close()


@pytest.fixture
async def standby() -> AsyncIterator[Stack]:
    stack = Stack()
    await stack.start()
    yield stack
    await stack.server.close()


async def test_models_are_listed_by_name_with_their_live_state(stack: Stack) -> None:
    """A List; what YAML made a date of is text, and hides nobody."""
    status, body = await stack.get("/v1/trainedmodels")
    assert (status, body["kind"], body["apiVersion"]) == (200, "List", "v1")
    assert [i["metadata"]["name"] for i in body["items"]] == ["digits", "odd"]
    assert [c["pod"] for c in body["items"][0]["live"]["copies"]] == ["pod-p1"]
    assert body["items"][1]["metadata"]["labels"] == {"released": "2026-01-02"}


async def test_one_model_comes_with_its_events(stack: Stack) -> None:
    """The object, its status, its copies, what happened to it."""
    status, body = await stack.get("/v1/trainedmodels/digits")
    assert (status, body["kind"], body["metadata"]["uid"]) == (200, "TrainedModel", "uid-digits")
    assert body["events"] == [{"reason": "of digits"}]


@pytest.mark.parametrize("name", ["nobody", "..%2Fdigits", "a%20b"])
async def test_a_model_that_is_not_there_is_not_found(stack: Stack, name: str) -> None:
    """With a message for a person."""
    status, body = await stack.get(f"/v1/trainedmodels/{name}")
    assert status == 404
    assert body["message"].startswith('trainedmodels "')
    assert body["message"].endswith('" not found')


async def test_a_model_whose_object_was_refused_is_told_so(stack: Stack) -> None:
    """Somebody wrote it, and looks for it: that there is none would be wrong."""
    status, body = await stack.get("/v1/trainedmodels/typo")
    assert (status, body) == (404, {"message": 'trainedmodels "typo" was refused: spec.model.memory: required'})


@pytest.mark.parametrize("path", ["/v1/trainedmodels", "/v1/trainedmodels/digits"])
async def test_what_has_not_been_listed_is_not_absent(stack: Stack, path: str) -> None:
    """A controller that was started just now does not know what there is, and says so."""
    stack.desired.synced = False
    status, body = await stack.get(path)
    assert (status, "starts" in body["message"]) == (503, True)


async def test_health_is_the_loop_and_readiness_is_work(stack: Stack) -> None:
    """Two questions, two answers."""
    assert await stack.get("/healthz") == (200, "ok\n")
    assert await stack.get("/readyz") == (503, "starting\n")
    stack.working = True
    assert await stack.get("/readyz") == (200, "leading\n")


async def test_what_stands_still_is_unhealthy(stack: Stack) -> None:
    """By name, for the log of who restarts it; and well again when it moves."""
    stack.unhealthy = "nothing has moved for 61 s"
    assert await stack.get("/healthz") == (503, "lease: nothing has moved for 61 s\n")
    stack.unhealthy = ""
    assert await stack.get("/healthz") == (200, "ok\n")


async def test_a_standby_is_ready_once_it_could_lead(standby: Stack) -> None:
    """In words of its own; a term changes them, and its end changes them back."""
    assert await standby.get("/readyz") == (503, "no lists yet\n")
    standby.standing_by = ""
    assert await standby.get("/readyz") == (200, "standby\n")
    standby.lead()
    assert await standby.get("/readyz") == (503, "starting\n")
    standby.server.detach()
    assert await standby.get("/readyz") == (200, "standby\n")


async def test_metrics_are_there_before_during_and_after_a_term(standby: Stack) -> None:
    """The process's own and who leads always; those of a term while it lasts."""
    status, text = await standby.get("/metrics")
    assert status == 200
    assert {"wml_leader 0.0", "wml_epoch 0.0", "wml_always 1.0"} <= set(text.splitlines())
    assert "process_resident_memory_bytes" in text
    assert "wml_loads" not in text
    standby.lead()
    standby.loads.add("mlserver-0.x")
    _, text = await standby.get("/metrics")
    assert {"wml_leader 1.0", "wml_epoch 7.0", 'wml_loads_total{runtime="mlserver-0.x"} 1.0'} <= set(text.splitlines())
    standby.server.detach()
    _, text = await standby.get("/metrics")
    assert "wml_leader 0.0" in text
    assert "wml_loads" not in text


async def test_it_says_what_it_is(stack: Stack) -> None:
    """For who has only its port."""
    assert await stack.get("/v1/service") == (200, {"name": "wml-serving", "grpcPort": 8033})


async def test_anywhere_is_both_families() -> None:
    """A kubelet asks at the pod's address, of whichever family that is, and `kubectl port-forward` at loopback."""
    other = Stack()
    await other.start(ANYWHERE)
    try:
        async with aiohttp.ClientSession() as session:
            for host in LOOPBACKS:
                async with session.get(f"http://{host_port(host, other.port)}/healthz") as answer:
                    assert answer.status == 200
    finally:
        await other.server.close()


async def test_a_taken_port_is_an_error_of_the_system(stack: Stack) -> None:
    """The caller says which port."""
    other = Stack()
    with pytest.raises(OSError):
        await other.server.start("127.0.0.1", stack.port)
    await other.server.close()

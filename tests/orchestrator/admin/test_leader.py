"""A standby asks the leader for its callers, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from orchestrator.admin import leader as leader_module
from orchestrator.admin.leader import Leader
from orchestrator.admin.server import AdminServer
from orchestrator.admin.term_view import TermView, Use
from orchestrator.controller.desired import DesiredState
from orchestrator.domain.fleet import ServerState
from orchestrator.fleet.observed import ObservedFleet, Report
from tests.orchestrator.builders import make_copy, make_model, make_pod, make_raw_model

NAMES = ("digits", "odd")


class Replica:
    """An admin server, and whom it takes for the leader."""

    def __init__(self) -> None:
        self.leader: Leader | None = None
        self.server = AdminServer(service={}, leader=lambda: self.leader)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def lead(self) -> None:
        desired = DesiredState()
        models = {name: make_model(name, raw=make_raw_model(name)) for name in NAMES}
        desired.replace(models=models, runtimes={}, storage=None, config={})
        fleet = ObservedFleet()
        fleet.list_pods([make_pod()])
        fleet.report("p1", Report(boot="b", full=True, server=ServerState.READY, copies=(make_copy(),)))
        self.server.attach(
            TermView(
                epoch=1,
                models=desired,
                fleet=fleet,
                use=lambda name: Use(idle_s=3.5, requests_per_s=0.25),
                events=lambda name: [],
                problems=lambda: ["one"],
                refused=lambda _: "",
                working=lambda: True,
                figures=lambda: (),
            )
        )

    async def get(self, path: str) -> tuple[int, dict[str, object]]:
        url = URL(f"http://{self.address}{path}", encoded=True)
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.json()


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[Replica, Replica]]:
    """Two of them; neither leads yet."""
    pair = Replica(), Replica()
    for replica in pair:
        await replica.server.start("127.0.0.1", replica.port)
    yield pair
    for replica in pair:
        await replica.server.close()


@pytest.mark.parametrize(
    "path", ["/v1/trainedmodels", "/v1/trainedmodels/digits", "/v1/trainedmodels/no%2Fbody", "/v1/problems"]
)
async def test_a_standby_answers_as_the_leader_does(replicas: tuple[Replica, Replica], path: str) -> None:
    """Status and body, found or not: whoever came through a port-forward need not know which replica he met."""
    leading, standing_by = replicas
    leading.lead()
    standing_by.leader = Leader(name="replica-0", address=leading.address)
    answer = await standing_by.get(path)
    assert answer == await leading.get(path)
    # Live state and all.
    assert ("pod-p1" in str(answer)) == path.endswith(("trainedmodels", "digits"))


async def test_a_standby_asks_for_the_same_when_it_is_asked_as_a_proxy_is(replicas: tuple[Replica, Replica]) -> None:
    """Whatever host is named in the request's line: a server has to take that form, too."""
    leading, standing_by = replicas
    leading.lead()
    standing_by.leader = Leader(name="replica-0", address=leading.address)
    answers = []
    for replica in replicas:
        reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
        path = "http://other.example/v1/trainedmodels/no%2Fbody?a=%2F"
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answers.append((await reader.read()).partition(b"\r\n\r\n")[2])
        writer.close()
    assert answers == [b'{"message": "trainedmodels \\"no/body\\" not found"}'] * 2


async def test_without_an_address_the_leader_is_named(replicas: tuple[Replica, Replica]) -> None:
    """As far as it is known."""
    replica, _ = replicas
    status, body = await replica.get("/v1/trainedmodels")
    assert (status, "none is known to lead" in str(body["message"])) == (503, True)
    replica.leader = Leader(name="replica-1")
    status, body = await replica.get("/v1/trainedmodels")
    assert (status, "replica-1 leads" in str(body["message"])) == (503, True)


async def test_two_that_take_each_other_for_the_leader_do_not_pass_it_on(replicas: tuple[Replica, Replica]) -> None:
    """One of them says that it does not lead, and that is the answer."""
    one, other = replicas
    one.leader = Leader(name="other", address=other.address)
    other.leader = Leader(name="one", address=one.address)
    status, body = await one.get("/v1/trainedmodels")
    assert (status, body) == (503, {"message": "this replica stands by; one leads: ask it"})


async def test_a_leader_that_is_gone_is_named(replicas: tuple[Replica, Replica]) -> None:
    """With what happened."""
    one, other = replicas
    await other.server.close()
    one.leader = Leader(name="other", address=other.address)
    status, body = await one.get("/v1/trainedmodels")
    assert status == 503
    assert str(body["message"]).startswith("this replica stands by; other leads and does not answer: ")


async def test_a_leader_that_says_nothing_is_not_waited_for(
    replicas: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen process accepts, and never answers."""
    monkeypatch.setattr(leader_module, "_TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    one, _ = replicas
    over = asyncio.Event()

    async def ignore(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    silent = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    one.leader = Leader(name="other", address=f"127.0.0.1:{port}")
    status, body = await one.get("/v1/trainedmodels")
    assert (status, body["message"]) == (
        503,
        "this replica stands by; other leads and does not answer: it took too long",
    )
    over.set()
    silent.close()
    await silent.wait_closed()

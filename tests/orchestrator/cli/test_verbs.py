"""The verbs against a real admin API: output, exit codes, and what is said when there is no answer."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from orchestrator.admin.server import AdminServer
from orchestrator.admin.term_view import TermView, Use
from orchestrator.cli.verbs import describe_model, get
from orchestrator.controller.desired import DesiredState
from orchestrator.fleet.observed import ObservedFleet
from tests.orchestrator.builders import make_model, make_raw_model

EVENT = {"type": "Normal", "reason": "Loaded", "message": "served", "count": 1, "lastTimestamp": "2026-01-01T00:00:00Z"}


class Api:
    """An admin API in a thread of its own, as the verbs block."""

    def __init__(self, *names: str, problems: tuple[str, ...] = ()) -> None:
        self.problems = list(problems)
        desired = DesiredState()
        models = {n: make_model(n, raw=make_raw_model(n)) for n in names}
        desired.replace(models=models, runtimes={}, storage=None, config={})
        self._desired = desired
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Api:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = AdminServer(service={})
        server.attach(
            TermView(
                epoch=1,
                models=self._desired,
                fleet=ObservedFleet(),
                use=lambda name: Use(idle_s=3.5, requests_per_s=0.25),
                events=lambda name: [EVENT],
                problems=lambda: self.problems,
                refused=lambda _: "",
                working=lambda: True,
                figures=lambda: (),
            )
        )
        await server.start("127.0.0.1", self._port)
        self._started.set()
        await self._over.wait()
        await server.close()


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with Api("digits", "other") as running:
        yield running.address


def run_get(admin: str, name: str | None = None, output: str = "") -> int:
    return get(Namespace(admin=admin, name=name, output=output))


def test_get_prints_a_table(api: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, or the one."""
    assert run_get(api) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NAME", "digits", "other"]
    assert run_get(api, "other", "wide") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[4:] == ["RUNTIME", "REASON", "UPTODATE", "COPIES", "BYTES", "IDLE", "REQ/S"]
    assert [line.split()[0] for line in lines[1:]] == ["other"]


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_get_prints_the_objects(api: str, capsys: pytest.CaptureFixture[str], output: str, load: Any) -> None:
    """A List, or the one object, as the API server would give it, and live state; no events."""
    assert run_get(api, output=output) == 0
    listed = load(capsys.readouterr().out)
    assert (listed["kind"], [i["metadata"]["name"] for i in listed["items"]]) == ("List", ["digits", "other"])
    assert run_get(api, "digits", output) == 0
    one = load(capsys.readouterr().out)
    assert one == listed["items"][0]
    assert one.keys() == {"apiVersion", "kind", "metadata", "spec", "status", "live"}
    assert one["live"] == {"copies": [], "idleSeconds": 3.5, "requestsPerSecond": 0.25}


def test_nothing_to_list_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Said on standard error, so that a pipe gets nothing; a List is a List."""
    with Api() as empty:
        assert run_get(empty.address) == 0
        assert capsys.readouterr() == ("", "No resources found.\n")
        assert run_get(empty.address, output="json") == 0
        assert json.loads(capsys.readouterr().out)["items"] == []


def test_what_was_refused_is_said_beside(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, a bounded number of lines: who misses an object sees why, and a pipe gets the objects alone."""
    with Api("digits", problems=tuple(f"{i}.yaml:3: spec.model.memory: required" for i in range(7))) as some:
        assert run_get(some.address, output="json") == 0
        out, error = capsys.readouterr()
        assert [i["metadata"]["name"] for i in json.loads(out)["items"]] == ["digits"]
        assert error.splitlines()[0] == "warning: 0.yaml:3: spec.model.memory: required"
        assert error.splitlines()[5:] == [f"warning: and 2 more; see {some.address}/v1/problems"]
        assert run_get(some.address, "typo") == 1
        assert "spec.model.memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "own",
    [
        "z.yaml:3: TrainedModel 'typo': spec.model.memory: required",
        "typo.yaml:7: not valid YAML: found a tab",
        "TrainedModel 'typo': spec.model.memory: required",
    ],
)
@pytest.mark.parametrize("run", [run_get, lambda admin, name: describe_model(Namespace(admin=admin, name=name))])
def test_of_the_object_that_is_asked_for_the_problem_comes_first(
    run: Callable[[str, str], int], own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many others there are: it is what there is to mend. By its name, or its file's."""
    others = [f"{i}.yaml:3: TrainedModel 'typo-{i}': spec.model.memory: required" for i in range(7)]
    with Api(problems=(*others, own)) as some:
        assert run(some.address, "typo") == 1
        error = capsys.readouterr().err.splitlines()
        assert error[:2] == [f"warning: {own}", f"warning: {others[0]}"]
        assert error[5].startswith("warning: and 3 more")


def test_describe_prints_one_model(api: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With its events."""
    assert describe_model(Namespace(admin=api, name="digits")) == 0
    out = capsys.readouterr().out
    assert out.startswith("Name:               digits\n")
    assert "Normal   Loaded" in out


@pytest.mark.parametrize("name", ["nobody", "a/b", "../x", "ä ?#"])
def test_a_model_that_is_not_there_is_exit_code_1(api: str, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Whatever is in the name: it is quoted."""
    for code in (run_get(api, name), run_get(api, name, "json"), describe_model(Namespace(admin=api, name=name))):
        assert code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f'Error from server: trainedmodels "{name}" not found\n' * 3


def test_no_answer_is_exit_code_1_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    """A port where nobody is, one where somebody else is, an address that is none."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert run_get(nobody) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"no answer from the admin API at {nobody}: ")
    assert err.endswith("; is `wml-serving standalone` up?\n")
    for address in ("127.0.0.1:8080", "http://127.0.0.1:port", "http://"):
        assert describe_model(Namespace(admin=address, name="x")) == 1
        assert f"no answer from the admin API at {address}: " in capsys.readouterr().err


def test_whoever_speaks_no_http_is_no_admin_api(capsys: pytest.CaptureFixture[str]) -> None:
    """The inference port, say."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\x00\x00\x12\x04\x00 what?\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert run_get(f"http://127.0.0.1:{other.getsockname()[1]}") == 1
        thread.join(10)
    assert "no answer from the admin API" in capsys.readouterr().err


def test_a_proxy_is_not_asked(api: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for the world, and the admin API is here."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert run_get(api) == 0
    assert "digits" in capsys.readouterr().out

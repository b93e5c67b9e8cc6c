"""
A pod that is about to end: what it holds is handed over first.

Asked as a kubelet's preStop hook asks, of the adapter beside a real server, or by the supervisor, while clients ask the
models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from tests.standalone.manifests import Document, serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.processes import Process
from tests.standalone.stack import Stack
from tests.standalone.waiting import wait_until
from tests.standalone.watch import watching

RUNTIME = "two-pods"
#: So many models there are of one size that is not the least.
PADDED = 3


def limit(pods: int) -> Document:
    """So many pods a runtime."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "wml-serving-config"},
        "data": {"podsPerRuntime": str(pods)},
    }


def apply_padded(stack: Stack, models: Models, count: int, *, room_for: float) -> dict[str, int]:
    """So many models in a runtime with two pods, each with room for some; the prober that each is."""
    stack.apply(limit(2), trained_model("size", models.uri("padded-0.joblib"), "sklearn"))
    stack.wait_ready("size")
    size = copies(stack, "size")[0]["reservedBytes"]
    stack.delete("size")
    names = {f"m-{turn}": turn % PADDED for turn in range(count)}
    stack.apply(serving_runtime(RUNTIME, "mlserver", ["sklearn"], memory=str(int(size * room_for))))
    for name, number in names.items():
        stack.apply(trained_model(name, models.uri(f"padded-{number}.joblib"), "sklearn", runtime=RUNTIME))
    stack.wait_ready(*names)
    wait_until(
        lambda: all(holders(stack, *names).values()), lambda: f"no second pod: {holders(stack, *names)}", within=60
    )
    return names


def copies(stack: Stack, name: str) -> list[Document]:
    """Where the model is."""
    document = stack.get(name)
    assert document is not None
    found: list[Document] = document["live"]["copies"]
    return found


def holders(stack: Stack, *names: str) -> dict[str, set[str]]:
    """The pods in which each is loaded."""
    return {name: {c["pod"] for c in copies(stack, name) if c["state"] == "Loaded"} for name in names}


def adapter_of(stack: Stack, pod: str) -> Process:
    """The adapter in that pod."""
    (found,) = (p for p in stack.processes("adapter") if p.option("--pod") == pod)
    return found


def ask(adapter: Process, path: str) -> tuple[int, str]:
    """As a kubelet does: the status, and the line."""

    async def get() -> tuple[int, str]:
        connector = aiohttp.UnixConnector(adapter.option("--health-socket"))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://pod{path}") as response:
            return response.status, (await response.text()).strip()

    return asyncio.run(get())


def test_a_pod_is_emptied_before_it_ends(make_stack: Callable[..., Stack], models: Models) -> None:
    """
    Its models are loaded in the other pod, routed to there, and only then unloaded, under constant traffic.

    No request fails, READY is True throughout, and the pod that was there keeps what it had.
    """
    with make_stack() as stack:
        names = apply_padded(stack, models, 5, room_for=4.5)
        pods = holders(stack, *names)
        (lonely,) = (name for name in names if sum(pods[name] == other for other in pods.values()) == 1)
        (staying,) = pods[lonely]
        crowd = [name for name in names if name != lonely]
        stack.delete(*crowd[:2])
        for name in crowd[:2]:
            stack.wait_gone(name)
        moved = crowd[2:]
        (leaving,) = pods[moved[0]]
        kept = [lonely, *moved]
        with watching(stack, models, *kept, rate=100) as watch:
            for name in kept:
                watch.witness.heard(name, names[name])
            assert ask(adapter_of(stack, leaving), "/readyz") == (200, "ok")
            assert ask(adapter_of(stack, leaving), "/drain") == (200, "left: nothing")
            # The controller hears of it a moment later than who asked.
            wait_until(
                lambda: holders(stack, *kept) == {name: {staying} for name in kept},
                lambda: f"{holders(stack, *kept)}, not {staying}",
            )
            assert ask(adapter_of(stack, leaving), "/readyz") == (503, "the pod drains")
            assert ask(adapter_of(stack, leaving), "/livez") == (200, "ok")
            for name in kept:
                watch.witness.heard(name, names[name])
        watch.readiness.check(*kept)
        for name in kept:
            assert watch.witness.phases(name) == [names[name]]


def test_a_pod_too_many_is_emptied_and_ends(make_stack: Callable[..., Stack], models: Models) -> None:
    """As soon as the limit is lowered, under constant traffic: no request fails, and READY is True throughout."""
    with make_stack() as stack:
        names = apply_padded(stack, models, 3, room_for=2.5)
        pods = holders(stack, *names)
        (lonely,) = (name for name in names if sum(pods[name] == other for other in pods.values()) == 1)
        gone, moved = (name for name in names if name != lonely)
        stack.delete(gone)
        stack.wait_gone(gone)
        with watching(stack, models, lonely, moved, rate=100) as watch:
            for name in (lonely, moved):
                watch.witness.heard(name, names[name])
            stack.apply(limit(1))
            wait_until(
                lambda: len([p for p in stack.processes("adapter") if p.option("--runtime") == RUNTIME]) == 1,
                "the second pod does not end",
                within=60,
            )
            for name in (lonely, moved):
                watch.witness.heard(name, names[name])
            wait_until(
                lambda: len(set.union(*holders(stack, lonely, moved).values())) == 1,
                lambda: f"{holders(stack, lonely, moved)}",
            )
        watch.readiness.check(lonely, moved)
        for name in (lonely, moved):
            assert watch.witness.phases(name) == [names[name]]

"""
A process of Triton's own that ends takes one model with it, which comes back by itself.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import grpc

from tests.log_lines import events
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.processes import Process
from tests.standalone.stack import Stack
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import wait_until


def instances(stack: Stack, model: str) -> dict[int, Process]:
    """The processes in which Triton runs this model."""
    return {p.pid: p for p in stack.processes("stub") if f"/{model}/1/" in p.command}


def kill(stack: Stack, model: str) -> None:
    """Kill its only instance, and wait until it was not READY for it, and is again."""
    told = len(words(stack, model))
    (before,) = instances(stack, model).values()
    before.send(signal.SIGKILL)
    wait_until(
        lambda: words(stack, model)[told:] == ["RuntimeUnavailable", "Loaded"],
        lambda: f"{model} is not back\n{stack.tail()}",
        within=60,
    )
    assert instances(stack, model).keys() != {before.pid}


def words(stack: Stack, model: str) -> list[str]:
    """The reasons that its condition Ready has had, in order."""
    said = (line for line in events(stack.text()) if line["event"] == "trained_model_changed")
    return [line["reason"] for line in said if (line["trained_model"], line["condition"]) == (model, "Ready")]


def test_model_whose_process_is_killed_comes_back(make_stack: Callable[..., Stack], models: Models) -> None:
    """
    With nobody touching anything: asked all the while, again after a restart of the adapter, and when nobody asks.

    What fails is what was on its way when it was killed; once it is READY again no request fails. The other model of
    that Triton never fails.
    """
    internal = frozenset({grpc.StatusCode.INTERNAL})
    with make_stack() as stack:
        names = ("victim", "neighbour")
        stack.apply(*(trained_model(n, models.uri(f"probe-{i}.onnx"), "onnx") for i, n in enumerate(names)))
        stack.wait_ready(*names)
        triton, adapter = stack.process("triton").pid, stack.process("adapter")
        with Traffic(stack.target, "neighbour", models.probes, models.probe_labels + 100) as neighbour:
            with Traffic(stack.target, "victim", models.probes, models.probe_labels, tolerated=internal) as victim:
                wait_until(lambda: victim.answered > 10, "no traffic")
                kill(stack, "victim")
                refused, enough = victim.refused, victim.answered + 50
                wait_until(lambda: victim.answered > enough, "it does not answer")
                victim.check()
                assert victim.refused == refused <= 3

            adapter.send(signal.SIGKILL)
            wait_until(lambda: not adapter.alive, "the adapter lives")
            # One that ends while no adapter is there is seen by nobody.
            wait_until(lambda: '"adopted": 2' in stack.text(), lambda: f"no adapter\n{stack.tail()}")
            kill(stack, "victim")
            with stack.client() as client:
                assert list(client.classes("victim", models.probes)) == list(models.probe_labels)
            neighbour.check(at_least=100)
        assert stack.process("triton").pid == triton

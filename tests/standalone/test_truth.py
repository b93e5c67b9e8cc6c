"""
READY is the truth, and nothing but Envoy and the servers is needed to answer a warm model.

Processes are frozen, not killed: a frozen one holds its sockets, so whoever waits for it really waits.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.processes import frozen
from tests.standalone.stack import Stack
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import holds_for, wait_until


def test_ready_waits_for_the_mesh_and_warm_traffic_for_no_one(make_stack: Callable[..., Stack], models: Models) -> None:
    """
    Controller, activator and adapters frozen: a warm model answers on.

    Envoy frozen: a new model is loaded and does not turn READY until Envoy is thawed, then a request sent at once is
    answered.
    """
    with make_stack() as stack:
        stack.apply(trained_model("warm", models.uri("probe-1.joblib"), "sklearn"))
        stack.wait_ready("warm")
        with Traffic(stack.target, "warm", models.probes, models.probe_labels + 100) as traffic:
            wait_until(lambda: traffic.answered > 10, "no traffic")
            with frozen(*stack.processes("controller", "activator", "adapter")):
                before = traffic.answered
                wait_until(lambda: traffic.answered > before + 200, "traffic stopped", within=20)
            traffic.check()

        with frozen(stack.process("envoy")):
            stack.apply(trained_model("new", models.uri("probe-2.joblib"), "sklearn"))
            wait_until(lambda: loaded(stack, "new"), "it is not loaded", within=30)
            # The status is written after what the server says, and may have said before that the model is loading.
            wait_until(lambda: "mesh" in stack.condition("new").message, "nobody says that it waits for the mesh")
            assert stack.condition("new").reason == "Loading"
            holds_for(lambda: stack.condition("new").status == "False", "READY before the mesh knows", seconds=3)
        stack.wait_ready("new")
        with stack.client() as client:
            assert list(client.classes("new", models.probes, timeout=5)) == list(models.probe_labels + 200)


def loaded(stack: Stack, name: str) -> bool:
    """Whether a server says that it has it."""
    document = stack.get(name)
    return document is not None and any(c["state"] == "Loaded" for c in document["live"]["copies"])

"""
The end of either orchestrator, while warm models are asked all the time and another is waited for.

The line for requests does not depend on who leads: nothing warm is lost or
moved. What leads next finds what the last one left: in a pool of two pods, too,
where a model could be in the wrong one, and in both servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.cluster.cluster import is_external
from tests.cluster.cold import cold
from tests.cluster.handover import steps
from tests.cluster.product import LEASE, ORCHESTRATOR, Product
from tests.cluster.warm import NUMBER, WARM, answered, changes_happen, copies, own_runtime, settled, witnessed
from tests.standalone.models import Models
from tests.standalone.waiting import wait_until

Object = dict[str, Any]

#: Of a leader that was killed; one that ends in order lets its lease go. On a machine that does other things, too: what
#: `make bench` measures is held to twenty seconds.
FAILOVER: Final = timedelta(seconds=30)
#: They do not fit into one pod.
APART: Final = ("apart-one", "apart-other")
WORLD: Final = (WARM, *APART, "beside-onnx")


@pytest.fixture(scope="module")
def world(warm: Product, models: Models) -> Iterator[Product]:
    """Beside the model that is kept warm one of the other server's, and a pool of two pods with a model in each."""
    padded, runtime = models.uri(f"padded-{NUMBER}.joblib"), "apart"
    with (
        own_runtime(warm, runtime, for_models_mib=8),
        warm.model(APART[0], padded, "sklearn", runtime=runtime),
        warm.model(APART[1], padded, "sklearn", runtime=runtime),
        warm.model("beside-onnx", models.uri(f"probe-{NUMBER}.onnx"), "onnx"),
    ):
        for name in WORLD:
            warm.until_ready(name, within=180)
        # A pod that takes its time to start is not waited for: one of the two that are apart has made room for the other
        # then, and stands by. Asked for all the time, it is back once there is that pod.
        with witnessed(warm, *WORLD):
            wait_until(
                lambda: are_apart(places(warm)), lambda: f"they are not apart: {places(warm)}", within=180, poll=1
            )
        yield warm


def places(world: Product) -> dict[str, dict[str, Any]]:
    """Model → its copies."""
    return {name: copies(world, name) for name in WORLD}


def are_apart(found: dict[str, dict[str, Any]]) -> bool:
    """Whether each model is in one pod, and the two that do not fit into one in two."""
    return all(len(pods) == 1 for pods in found.values()) and found[APART[0]].keys() != found[APART[1]].keys()


@contextmanager
def nothing_moves(world: Product) -> Iterator[None]:
    """Raises AssertionError if a request was lost meanwhile, or a model was loaded, unloaded, or is in another place."""
    before, known = places(world), steps(world.cluster)
    assert are_apart(before), before
    with witnessed(world, *WORLD) as witness:
        yield
        for name in WORLD:
            answered(witness, name)
    witness.check()
    assert places(world) == before
    assert not [step for step in steps(world.cluster) if step.model in WORLD and step not in known]


def kill(product: Product, pod: Object) -> None:
    """Its process gets no chance to say good-bye."""
    product.cluster.kill_process(f"--identity={pod['metadata']['name']}")


def delete(product: Product, pod: Object) -> None:
    """As a node that is drained does."""
    product.cluster.delete("pod", pod["metadata"]["name"], wait=False)


#: On a node of somebody's no process can be killed from here.
either_end = pytest.mark.parametrize("end", [delete] if is_external() else [kill, delete])


@either_end
def test_the_next_leader_takes_over(world: Product, name: str, end: Callable[[Product, Object], None]) -> None:
    """In time; warm requests flow, a cold one is answered, changes happen, and no model is loaded again."""
    with nothing_moves(world), cold(world, name) as ask:
        answer = ask()
        old, leader = world.holder(), world.leader()
        began = datetime.now(UTC)
        end(world, leader)
        next_one = world.cluster.until(
            "lease", LEASE, lambda o: o["spec"].get("holderIdentity") not in {"", None, old}, "is nobody else's"
        )
        assert datetime.fromisoformat(next_one["spec"]["acquireTime"]) - began < FAILOVER
        changes_happen(world, f"{name}-after")
        assert answer().number == NUMBER, answer()
    settled(world)


@either_end
def test_the_standby_is_not_missed(world: Product, name: str, end: Callable[[Product, Object], None]) -> None:
    """It is only made again."""
    holder, leader = world.holder(), world.leader()["metadata"]["name"]
    (standby,) = (p for p in world.cluster.pods(ORCHESTRATOR) if p["metadata"]["name"] != leader)
    with nothing_moves(world):
        end(world, standby)
        changes_happen(world, name)
        settled(world)
    assert world.holder() == holder

"""
The end of either orchestrator, while a warm model is asked all the time and another is waited for.

The line for requests does not depend on who leads: nothing warm is lost or
moved. What leads next finds what the last one left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import pytest

from tests.cluster.cluster import is_external
from tests.cluster.product import LEASE, MESH, ORCHESTRATOR, PORT, Product
from tests.cluster.warm import NUMBER, answered, changes_happen, copies, own_runtime, settled, witnessed
from tests.standalone.client import CallError, Client

Object = dict[str, Any]

#: As promised of a leader that was killed; one that ends in order lets its lease go.
FAILOVER: Final = timedelta(seconds=20)


def kill(product: Product, pod: Object) -> None:
    """Its process gets no chance to say good-bye."""
    product.cluster.kill_process(f"--identity={pod['metadata']['name']}")


def delete(product: Product, pod: Object) -> None:
    """As a node that is drained does."""
    product.cluster.delete("pod", pod["metadata"]["name"], wait=False)


#: On a node of somebody's no process can be killed from here.
@pytest.mark.parametrize("end", [delete] if is_external() else [kill, delete])
def test_the_next_leader_takes_over(warm: Product, name: str, end: Callable[[Product, Object], None]) -> None:
    """In time; warm requests flow, a cold one is answered, changes happen, and no model is loaded again."""
    before = copies(warm)
    assert before
    with witnessed(warm) as witness, cold_request(warm, name) as answer:
        old, leader = warm.holder(), warm.leader()
        began = datetime.now(UTC)
        end(warm, leader)
        next_one = warm.cluster.until(
            "lease", LEASE, lambda o: o["spec"].get("holderIdentity") not in {"", None, old}, "is nobody else's"
        )
        assert datetime.fromisoformat(next_one["spec"]["acquireTime"]) - began < FAILOVER
        changes_happen(warm, f"{name}-after")
        assert answer() == NUMBER
        answered(witness)
    witness.check()
    assert copies(warm) == before
    settled(warm)


def test_the_standby_is_not_missed(warm: Product, name: str) -> None:
    """It is only made again."""
    before, holder = copies(warm), warm.holder()
    leader = warm.leader()["metadata"]["name"]
    (standby,) = (p for p in warm.cluster.pods(ORCHESTRATOR) if p["metadata"]["name"] != leader)
    with witnessed(warm) as witness:
        delete(warm, standby)
        changes_happen(warm, name)
        settled(warm)
        answered(witness)
    witness.check()
    assert warm.holder() == holder
    assert copies(warm) == before


@contextmanager
def cold_request(product: Product, name: str) -> Iterator[Callable[[], int]]:
    """A request that waits for a pool that has no pod yet; call what is given for the prober that answered it."""
    with (
        own_runtime(product, name),
        product.model(name, product.models.uri(f"probe-{NUMBER}.joblib"), "sklearn", runtime=name),
        product.cluster.reach(product.cluster.pods(MESH)[0]["status"]["podIP"], PORT) as address,
        Client(address) as client,
    ):
        given: list[int | CallError] = []

        def ask() -> None:
            # Until the mesh has heard of it, it has no such model.
            while not given:
                try:
                    (said,) = client.classes(name, product.models.probes[:1], timeout=120)
                    given.append(int(said))
                except CallError as error:
                    if error.code is not grpc.StatusCode.NOT_FOUND:
                        given.append(error)

        thread = threading.Thread(target=ask, name="cold")
        thread.start()
        try:
            product.cluster.until(
                "deployment", f"wml-serving-{name}", lambda found: found["spec"]["replicas"], "has no pod"
            )

            def answer() -> int:
                thread.join(120)
                (said,) = given
                assert isinstance(said, int), said
                number, label = divmod(said, 100)
                assert label == product.models.probe_labels[0]
                return number

            yield answer
        finally:
            given.append(-1)
            thread.join(120)

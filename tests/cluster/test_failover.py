"""
The end of either orchestrator, while a warm model is asked all the time and another is waited for.

The line for requests does not depend on who leads: nothing warm is lost or
moved. What leads next finds what the last one left.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.cluster.cluster import is_external
from tests.cluster.cold import cold
from tests.cluster.product import LEASE, ORCHESTRATOR, Product
from tests.cluster.warm import NUMBER, answered, changes_happen, copies, settled, witnessed

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
either_end = pytest.mark.parametrize("end", [delete] if is_external() else [kill, delete])


@either_end
def test_the_next_leader_takes_over(warm: Product, name: str, end: Callable[[Product, Object], None]) -> None:
    """In time; warm requests flow, a cold one is answered, changes happen, and no model is loaded again."""
    before = copies(warm)
    assert before
    with witnessed(warm) as witness, cold(warm, name) as ask:
        answer = ask()
        old, leader = warm.holder(), warm.leader()
        began = datetime.now(UTC)
        end(warm, leader)
        next_one = warm.cluster.until(
            "lease", LEASE, lambda o: o["spec"].get("holderIdentity") not in {"", None, old}, "is nobody else's"
        )
        assert datetime.fromisoformat(next_one["spec"]["acquireTime"]) - began < FAILOVER
        changes_happen(warm, f"{name}-after")
        assert answer().number == NUMBER, answer()
        answered(witness)
    witness.check()
    assert copies(warm) == before
    settled(warm)


@either_end
def test_the_standby_is_not_missed(warm: Product, name: str, end: Callable[[Product, Object], None]) -> None:
    """It is only made again."""
    before, holder = copies(warm), warm.holder()
    leader = warm.leader()["metadata"]["name"]
    (standby,) = (p for p in warm.cluster.pods(ORCHESTRATOR) if p["metadata"]["name"] != leader)
    with witnessed(warm) as witness:
        end(warm, standby)
        changes_happen(warm, name)
        settled(warm)
        answered(witness)
    witness.check()
    assert warm.holder() == holder
    assert copies(warm) == before

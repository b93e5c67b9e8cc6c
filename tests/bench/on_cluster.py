"""
What a user of a cluster waits for: models that are applied, and the next leader.

On a real Kubernetes node beside all else on this machine, in its namespaces.
Moments are those at which `kubectl` shows what is waited for, from before the
command that asks for it: a process of kubectl is in each of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.bench.ranges import Series
from tests.bench.world import Effort, World, say
from tests.cluster import opening
from tests.cluster.many import many, resident_bytes, until_ready
from tests.cluster.product import LEASE, ORCHESTRATOR, Product
from tests.cluster.runtimes import copied
from tests.cluster.warm import NUMBER, RUNTIME
from tests.cluster.watching import Watching
from tests.standalone.waiting import wait_until

_WITHIN_S: Final = 180.0
_MANY_WITHIN_S: Final = 600.0
_MIB: Final = 1 << 20
_READY: Final = '.status.conditions[?(@.type=="Ready")].status'


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCluster:
    """In seconds, each time; memory in MiB."""

    #: From `kubectl apply` to READY: no pod of its pool yet, its images on the node; and in a pool that runs.
    cold: Series
    warm: Series
    #: From the end of the leader's process to the next leader; and to READY of a model that was applied at that moment.
    failover: Series
    failover_ready: Series
    #: So many models created at once, on MLServer, until all are READY; and then each orchestrator, the leader first.
    models: int
    models_s: float
    memory: Series


def measure(world: World) -> OnCluster:
    """On a cluster opened for it. Raises AssertionError when something does not come up."""
    models = world.models
    with opening.cluster() as bare, opening.storage(bare, models) as store:
        return measured(opening.installed(bare, store, models), world.effort)


def measured(product: Product, effort: Effort) -> OnCluster:
    """On a product that is there. Raises AssertionError when something does not come up."""
    with Watching(product.cluster, "trainedmodels", _READY) as ready:
        with _applied(product, ready, "kept", RUNTIME) as first:
            say(f"cluster: the first model after {first:.1f} s")
            cold = tuple(_cold(product, ready, f"cold-{n}") for n in range(effort.cold_pools))
            warm = tuple(_once(product, ready, f"warm-{n}") for n in range(effort.files))
            ends = [_failover(product, ready, f"after-{n}") for n in range(effort.failovers)]
        say(f"cluster: {effort.on_cluster} models")
        begun = time.monotonic()
        with many(product, effort.on_cluster):
            until_ready(product, effort.on_cluster, within=_MANY_WITHIN_S)
            took = time.monotonic() - begun
            memory = _memory(product)
    return OnCluster(
        cold=cold,
        warm=warm,
        failover=tuple(led for led, _ in ends),
        failover_ready=tuple(made for _, made in ends),
        models=effort.on_cluster,
        models_s=took,
        memory=memory,
    )


def _cold(product: Product, ready: Watching, name: str) -> float:
    say(f"cluster: {name}")
    product.cluster.apply(copied(product.cluster.get("servingruntime", RUNTIME), name))
    try:
        return _once(product, ready, name, runtime=name)
    finally:
        product.cluster.delete("servingruntime", name)
        # What still drains would be in the way of the next.
        wait_until(
            lambda: not product.cluster.all("pods", f"wmlserving.ai.ibm.com/runtime={name}"),
            f"the pods of {name} are not gone",
            within=_WITHIN_S,
            poll=0.5,
        )


def _once(product: Product, ready: Watching, name: str, *, runtime: str = RUNTIME) -> float:
    with _applied(product, ready, name, runtime) as took:
        return took


@contextmanager
def _applied(product: Product, ready: Watching, name: str, runtime: str) -> Iterator[float]:
    """The model, READY, and the seconds that it took."""
    uri = product.models.uri(f"probe-{NUMBER}.joblib")
    begun = time.monotonic()
    with product.model(name, uri, "sklearn", runtime=runtime):
        yield ready.until(name, "True", since=begun, within=_WITHIN_S) - begun


def _failover(product: Product, ready: Watching, name: str) -> tuple[float, float]:
    say(f"cluster: failover, {name}")
    leader = product.leader()["metadata"]["name"]
    (standby,) = (p for p in product.cluster.pods(ORCHESTRATOR) if p["metadata"]["name"] != leader)
    with Watching(product.cluster, "lease", ".spec.holderIdentity") as held:
        old = product.holder()
        held.until(LEASE, old, since=0.0, within=_WITHIN_S)
        begun = time.monotonic()
        product.cluster.kill_process(f"--identity={leader}")
        made = _once(product, ready, name)
        new = product.holder()
        led = held.until(LEASE, new, since=begun, within=_WITHIN_S) - begun
        assert new.startswith(standby["metadata"]["name"]), f"{new} leads, after {old}"
    # A container that was killed waits before it starts again, longer each time: another pod does not.
    product.cluster.delete("pod", leader)
    product.cluster.rolled_out("deployment", "wml-serving-orchestrator")
    return led, made


def _memory(product: Product) -> Series:
    leader = product.leader()["metadata"]["name"]
    names = sorted((p["metadata"]["name"] for p in product.cluster.pods(ORCHESTRATOR)), key=lambda n: n != leader)
    return tuple(resident_bytes(product, name) / _MIB for name in names)

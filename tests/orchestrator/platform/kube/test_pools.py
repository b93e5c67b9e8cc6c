"""Pools as Deployments, against an API server that does what a real one does, and what goes wrong with one."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.fleet import Pod, Pool
from orchestrator.machinery.term import Term
from orchestrator.platform.kube import pool_book as pool_book_module
from orchestrator.platform.kube import pools as pools_module
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.paths import core, group
from orchestrator.platform.kube.pool_names import pool_labels
from orchestrator.platform.kube.pools import KubePools
from tests.orchestrator.platform.kube.fake_api import Answer, Call, FakeApi, Lost, fake_api
from tests.orchestrator.platform.kube.making import SETTINGS, make_kube_runtime, make_raw_pod, make_raw_runtime
from tests.orchestrator.waiting import eventually

NAME = "wml-serving-triton-2.x"
DEPLOYMENT = group("apps/v1", "deployments", "ns", NAME)
BUDGET = group("policy/v1", "poddisruptionbudgets", "ns", NAME)
RUNTIME = group("serving.kserve.io/v1alpha1", "servingruntimes", "ns", "triton-2.x")
MINE = Answer(403, {"kind": "Status", "reason": "Forbidden", "message": "exceeded quota: deployments", "code": 403})

READY = [{"type": "Ready", "status": "True"}]


class World:
    """A namespace with one ServingRuntime, pools that run, and what they said last."""

    def __init__(self, fake: FakeApi, api: KubeApi) -> None:
        self.fake = fake
        self.api = api
        self.term = Term(1)
        self.pods: tuple[Pod, ...] | None = None
        self.pools_said: Mapping[str, Pool] = {}
        self.reports: list[tuple[str, str, str, str]] = []
        self._task: asyncio.Task[None] | None = None
        fake.store.put(RUNTIME, make_raw_runtime())

    def start(self) -> None:
        self.pools = KubePools(
            self.api,
            SETTINGS,
            term=self.term,
            report=lambda *said: self.reports.append(said),
            clock=time.monotonic,
            random=random.random,
            repair_s=0.2,
        )
        self._task = asyncio.create_task(self.pools.run(self.on_pods))

    async def stop(self) -> None:
        if self._task is not None:
            assert not self._task.done()
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def on_pods(self, pods: tuple[Pod, ...], pools: Mapping[str, Pool] = MappingProxyType({}), /) -> None:
        self.pods, self.pools_said = pods, pools

    async def scale(self, replicas: int, **fields: Any) -> None:
        await self.pools.scale(make_kube_runtime(**fields), replicas)

    @property
    def pool(self) -> Pool | None:
        return self.pools_said.get("triton-2.x")

    def there(self, path: str = DEPLOYMENT) -> dict[str, Any] | None:
        """As stored."""
        found = [raw for key, raw in self.fake.store.objects.items() if path.endswith(f"/{key.resource}/{key.name}")]
        return found[0] if found else None

    @property
    def replicas(self) -> int | None:
        deployment = self.there()
        return deployment["spec"]["replicas"] if deployment else None

    def writes(self, path: str = DEPLOYMENT) -> list[Call]:
        return [c for c in self.fake.calls if c.verb in {"apply", "delete", "create"} and c.path == path]

    async def scaled(self, replicas: int) -> None:
        await self.scale(replicas)
        await eventually(lambda: self.replicas == replicas and self.there(BUDGET) is not None)


@pytest.fixture
async def fresh() -> AsyncIterator[World]:
    """Its pools are still to be started."""
    async with fake_api() as fake, KubeApi(fake.url, timeout_s=2.0, silence_s=2.0) as api:
        world = World(fake, api)
        try:
            yield world
        finally:
            await world.stop()


@pytest.fixture
async def world(fresh: World) -> World:
    fresh.start()
    await eventually(lambda: fresh.pods is not None)
    return fresh


async def test_a_pool_is_a_deployment_and_a_budget(world: World) -> None:
    """Made once; asked for again there is nothing to do; a number is a change of the number."""
    assert (world.pods, world.pools_said) == ((), {})
    await world.scaled(1)
    assert world.pool == Pool(1)
    for _ in range(3):
        await world.scale(1)
    await world.scaled(2)
    assert [call.body["spec"]["replicas"] for call in world.writes()] == [1, 2]
    assert world.reports == []


async def test_a_number_counts_from_when_it_is_wanted(world: World) -> None:
    """Whatever becomes of it: else the controller would ask for another one until the watch has come."""
    world.fake.meet = lambda call: Lost(done=False) if call.verb == "apply" else None
    await world.scale(3)
    assert world.pool == Pool(3)


async def test_no_pods_of_a_pool_that_never_was_make_nothing(world: World) -> None:
    """A runtime that nobody needs has no Deployment."""
    await world.scale(0)
    await eventually(lambda: world.pool == Pool(0))
    assert world.writes() == []
    await world.scaled(1)
    await world.scaled(0)
    assert world.there() is not None


async def test_another_image_of_a_runtime_is_another_deployment(world: World) -> None:
    """By its digest; the number of pods stays."""
    await world.scaled(2)
    before = world.there()
    await world.scale(2, container={"image": "registry/other:2"})
    await eventually(lambda: world.there() != before)
    now = world.there()
    assert now is not None
    assert now["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/other:2"
    assert now["spec"]["replicas"] == 2


async def test_what_is_changed_by_hand_is_put_right(world: World) -> None:
    """A number, an image, a label, an owner: ours to say."""
    await world.scaled(1)
    changes: tuple[dict[str, Any], ...] = (
        {"spec": {"replicas": 5}},
        {"spec": {"template": {"spec": {"containers": [{"name": "triton", "image": "mine"}]}}}},
        {"metadata": {"labels": {"app.kubernetes.io/component": "mine"}}},
        {"metadata": {"ownerReferences": []}},
    )
    before = world.there()
    for change in changes:
        world.fake.store.merge(DEPLOYMENT, change)
        assert not _same(world.there(), before)
        await eventually(lambda: _same(world.there(), before))
    assert world.pool == Pool(1)


async def test_a_budget_that_is_changed_or_deleted_by_hand_is_put_right(world: World) -> None:
    """At once, and not when the pool is next written: a node may be drained before then."""
    await world.scaled(1)
    before = world.there(BUDGET)
    assert before is not None
    changes: tuple[dict[str, Any] | None, ...] = (
        {"spec": {"maxUnavailable": 0}},
        None,
        {"metadata": {"labels": {"app.kubernetes.io/component": "mine"}}},
    )
    for change in changes:
        if change is None:
            world.fake.store.delete(BUDGET)
        else:
            world.fake.store.merge(BUDGET, change)
        now = world.there(BUDGET)
        assert now is None or not _same(now, before)
        await eventually(lambda: (now := world.there(BUDGET)) is not None and _same(now, before))
    written = len(world.writes(BUDGET))
    # What the status of it says is nobody's change.
    world.fake.store.merge(f"{BUDGET}/status", {"status": {"currentHealthy": 1}})
    await world.scaled(2)
    await eventually(lambda: world.pool == Pool(2) and len(world.writes(BUDGET)) > written)
    assert len(world.writes(BUDGET)) == written + 1


async def test_whoever_fights_for_a_deployment_is_answered_at_a_bounded_rate(world: World) -> None:
    """Two that correct each other must not become a load for the API server."""
    await world.scaled(1)
    began = time.monotonic()
    for _ in range(100):
        world.fake.store.merge(DEPLOYMENT, {"spec": {"replicas": 5}})
        await asyncio.sleep(0.01)
    await eventually(lambda: world.replicas == 1)
    assert len(world.writes()) <= 2 + (time.monotonic() - began) / 0.2


async def test_what_is_deleted_by_hand_is_made_again(world: World) -> None:
    """As long as it is wanted."""
    await world.scaled(1)
    world.fake.store.delete(DEPLOYMENT)
    await eventually(lambda: world.there() is not None)
    await world.pools.end("triton-2.x")
    await eventually(lambda: world.there() is None and world.there(BUDGET) is None)
    await eventually(lambda: world.pools_said == {})


async def test_nothing_is_made_for_a_runtime_that_is_gone(world: World) -> None:
    """The garbage collector would take it away at once, and it would be made again, for ever."""
    await world.scaled(1)
    world.fake.store.delete(RUNTIME)
    world.fake.store.delete(DEPLOYMENT)
    await eventually(lambda: world.pool == Pool(1, "ServingRuntime triton-2.x has been deleted"))
    assert world.there() is None
    world.fake.store.put(RUNTIME, make_raw_runtime(uid="runtime-2"))
    await world.scale(1, uid="runtime-2")
    await eventually(lambda: world.there() is not None)
    await eventually(lambda: world.pool == Pool(1))


@pytest.mark.parametrize("owned", [False, True])
async def test_somebody_elses_deployment_is_left_alone_and_told(world: World, owned: bool) -> None:
    """Of that name by chance, or labelled like ours but controlled by another; it goes, and ours comes."""
    metadata: dict[str, Any] = {"labels": {"app": "mine"}}
    if owned:
        owner = {"kind": "Application", "name": "mine", "uid": "mine", "controller": True}
        metadata = {"labels": pool_labels("triton-2.x"), "ownerReferences": [owner]}
    world.fake.store.put(DEPLOYMENT, {"metadata": metadata, "spec": {"replicas": 1, "selector": {}}})
    await world.scale(1)
    await eventually(lambda: world.pool is not None and "is left alone" in world.pool.message)
    assert world.pool is not None
    await eventually(lambda: world.reports)
    assert world.reports == [("triton-2.x", "runtime-1", "DeploymentNotOurs", world.pool.message)]
    assert world.writes() == []
    world.fake.store.delete(DEPLOYMENT)
    await eventually(lambda: world.pool == Pool(1) and world.there() is not None)


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [(MINE, "Refused", "exceeded quota: deployments"), (Answer(200, {}), "Unexpected", "please report it")],
)
async def test_what_is_refused_is_told_and_tried_again(world: World, answer: Answer, reason: str, said: str) -> None:
    """A quota, an invalid spec: in the API server's own words, once, until it is over. What nobody expected, too."""
    world.fake.meet = lambda call: answer if call.verb == "apply" else None
    await world.scale(1)
    await eventually(lambda: world.pool is not None and world.pool.message.endswith(said))
    await eventually(lambda: len(world.writes()) > 2)
    assert [(why, uid) for _, uid, why, _ in world.reports] == [(reason, "runtime-1")]
    world.fake.meet = lambda call: None
    await eventually(lambda: world.pool == Pool(1) and world.there() is not None)


def refused(resource: str, *verbs: str) -> Callable[[Call], Answer | None]:
    answer = Answer(403, {"kind": "Status", "reason": "Forbidden", "message": f"cannot list {resource}", "code": 403})
    return lambda call: answer if call.path.endswith(f"/{resource}") and call.verb in verbs else None


async def test_budgets_that_may_not_be_listed_stop_no_pool(fresh: World) -> None:
    """A Role from before they were looked at: the pools are kept, and it is said what is missing until it is there."""
    fresh.fake.meet = refused("poddisruptionbudgets", "list")
    fresh.start()
    await eventually(lambda: fresh.pods is not None)
    await fresh.scaled(1)
    said = "the API server refuses to show PodDisruptionBudgets: cannot list poddisruptionbudgets"
    await eventually(lambda: fresh.pool == Pool(1, aside=said))
    fresh.fake.meet = lambda call: None
    await eventually(lambda: fresh.pool == Pool(1))
    fresh.fake.store.delete(BUDGET)
    await eventually(lambda: fresh.there(BUDGET) is not None)


@pytest.mark.parametrize("resource", ["deployments", "pods"])
async def test_what_may_not_be_listed_any_more_is_the_pools_trouble(world: World, resource: str) -> None:
    """What is known of it stays, and may have changed since."""
    await world.scaled(1)
    world.fake.meet = refused(resource, "list", "watch")
    world.fake.cut()
    await eventually(lambda: world.pool is not None and world.pool.said.endswith(f": cannot list {resource}"))
    assert world.pods == ()
    world.fake.meet = lambda call: None
    await eventually(lambda: world.pool == Pool(1))


async def test_that_nothing_happens_to_a_pod_is_told(fresh: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event comes of it."""
    monkeypatch.setattr(pools_module, "STUCK_LOOK_S", 0.05)
    monkeypatch.setattr(pool_book_module, "STUCK_S", 0.2)
    waits = [{"type": "PodScheduled", "status": "True"}, {"type": "PodReadyToStartContainers", "status": "False"}]
    fresh.fake.store.put(core("pods", "ns", "p1"), make_raw_pod("p1", conditions=waits))
    fresh.start()
    await eventually(lambda: fresh.pods)
    await eventually(lambda: fresh.pods is not None and "its Events say which" in fresh.pods[0].message)


async def test_an_answer_that_is_lost_is_no_trouble_of_the_pools(world: World) -> None:
    """It is asked again, and what was done meanwhile stays."""
    world.fake.once(Lost(), "apply")
    await world.scale(1)
    await eventually(lambda: world.there(BUDGET) is not None)
    assert world.pool == Pool(1)
    assert world.reports == []


async def test_a_runtime_that_cannot_be_read_is_told(world: World) -> None:
    """It takes nothing else with it."""
    runtime = make_kube_runtime(volumes=7)
    await world.pools.scale(runtime, 1)
    await eventually(lambda: world.pool is not None and "spec cannot be read" in world.pool.message)
    await world.scale(1)
    await eventually(lambda: world.pool == Pool(1) and world.there() is not None)


async def test_pods_and_refusals_of_pods_are_told(world: World) -> None:
    """Those that have ended are not; nor those of others."""
    await world.scaled(1)
    pods = core("pods", "ns")
    world.fake.store.put(f"{pods}/p1", make_raw_pod("p1", podIP="10.0.0.7", phase="Running", conditions=READY))
    world.fake.store.put(f"{pods}/p2", make_raw_pod("p2", phase="Failed"))
    world.fake.store.put(f"{pods}/p3", {"metadata": {"labels": {"app": "mine"}}})
    await eventually(lambda: world.pods)
    assert world.pods is not None
    assert [(pod.uid, pod.adapter) for pod in world.pods] == [("uid-p1", "10.0.0.7:8085")]
    condition = {"type": "ReplicaFailure", "status": "True", "message": 'pods "x-1" is forbidden: violates PodSecurity'}
    world.fake.store.merge(f"{DEPLOYMENT}/status", {"status": {"conditions": [condition]}})
    await eventually(lambda: world.pool == Pool(1, "its pods are refused: pods is forbidden: violates PodSecurity"))
    world.fake.store.delete(f"{pods}/p1")
    await eventually(lambda: world.pods == ())
    assert len(world.writes()) == 1


async def test_another_leader_finds_the_pools_as_they_are(world: World) -> None:
    """Before it wants anything it is told how many pods each is to have; what it wants then changes nothing."""
    await world.scaled(2)
    await world.stop()
    version = world.there()
    world.pods = None
    world.start()
    await eventually(lambda: world.pods is not None)
    assert world.pool == Pool(2)
    applied = len(world.writes())
    await world.scale(2)
    await eventually(lambda: len(world.writes()) == applied + 1)
    assert world.there() == version


async def test_a_leader_whose_term_is_over_writes_nothing(world: World) -> None:
    """Its successor may want something else."""
    world.term.hear(2, "test")
    await world.scale(1)
    await eventually(lambda: world.pool == Pool(1))
    await asyncio.sleep(0)
    assert world.writes() == []


@pytest.mark.parametrize("write", ["Deployment", "budget"])
async def test_a_term_that_ends_while_something_is_waited_for_ends_the_writing(world: World, write: str) -> None:
    """Before the first write of a pool, and between its two."""
    last = RUNTIME if write == "Deployment" else DEPLOYMENT

    def overtaken(call: Call) -> None:
        if call.path == last and call.verb in {"get", "apply"} and (last is RUNTIME or call.verb == "apply"):
            world.term.hear(2, "test")

    world.fake.meet = overtaken
    with capture_logs() as lines:
        await world.scale(1)
        await eventually(lambda: any(line["event"] == "pool_left" for line in lines))
    assert (world.there() is None, world.there(BUDGET)) == (write == "Deployment", None)


async def test_a_term_that_ends_leaves_what_was_to_be_deleted(world: World) -> None:
    """A later leader may want it."""
    await world.scaled(1)
    world.fake.meet = lambda call: world.term.hear(2, "test") if call.verb == "delete" else None
    with capture_logs() as lines:
        await world.pools.end("triton-2.x")
        await eventually(lambda: any(line["event"] == "pool_left" for line in lines))
    assert world.there() is not None


def _same(now: dict[str, Any] | None, before: dict[str, Any] | None) -> bool:
    """Spec, labels and owners."""
    assert now is not None
    assert before is not None
    kept = ("labels", "ownerReferences", "annotations")
    return now["spec"] == before["spec"] and all(now["metadata"].get(k) == before["metadata"].get(k) for k in kept)

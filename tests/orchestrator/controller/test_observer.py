"""The eyes: everything about one model, and nothing of the others."""

from __future__ import annotations

from orchestrator.controller.desired import DesiredState
from orchestrator.controller.observer import Observer
from orchestrator.domain.demand import Want
from orchestrator.domain.fleet import CopyRef, CopyState, Failure, ServerState
from orchestrator.domain.memory import evicting
from orchestrator.domain.observation import Memory
from orchestrator.domain.routes import Route
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.target import Target
from orchestrator.domain.trained_model import ModelStatus, TrainedModel
from orchestrator.fleet.observed import ObservedFleet, Report
from tests.orchestrator.builders import (
    make_condition,
    make_copy,
    make_key,
    make_model,
    make_pod,
    make_route,
    make_runtime,
    make_status,
)
from tests.orchestrator.controller.bench import secret
from tests.orchestrator.controller.fakes import FakeActivators, FakeMesh

PODS = (make_pod("p1"), make_pod("p2"), make_pod("p3", "triton-2.x"), make_pod("p4", "triton-2.x"))


class Sight:
    """An observer and what it looks at."""

    def __init__(self, *models: TrainedModel, storage: StorageConfig | None = None) -> None:
        self.desired = DesiredState()
        self.deliver(*models, storage=storage or secret())
        self.fleet = ObservedFleet()
        self.fleet.list_pods(PODS)
        self.mesh = FakeMesh()
        self.activators = FakeActivators()
        self.observer = Observer(self.desired, self.fleet, self.mesh, self.activators, lambda: 7.0)

    def deliver(self, *models: TrainedModel, storage: StorageConfig | None) -> None:
        self.desired.replace(
            models={m.name: m for m in models},
            runtimes={"mlserver-0.x": make_runtime()},
            storage=storage,
            config={},
        )

    def hold(self, pod: str, revision: str, state: CopyState = CopyState.LOADED) -> None:
        copy = make_copy(state, pod=pod, key=make_key(revision))
        self.fleet.report(pod, Report(boot="b", full=True, server=ServerState.READY, copies=(copy,)))

    def pods(self) -> list[str]:
        return [p.pod.uid for p in self.observer.observe("digits").pods]


def test_it_sees_the_targets_pool_and_whoever_holds_a_copy() -> None:
    """Sorted, each once; all pods only where a route that is not ours leads to any, or may."""
    sight = Sight(make_model())
    assert sight.pods() == ["p1", "p2"]
    sight.hold("p2", "r0")
    sight.hold("p4", "r0")
    assert sight.pods() == ["p1", "p2", "p3", "p4"]
    sight.mesh.published["digits"] = make_route()
    assert sight.pods() == ["p1", "p2", "p4"]
    sight.mesh.published.clear()
    sight.fleet.report("p4", Report(boot="b", full=True, server=ServerState.READY))
    sight.fleet.report("p2", Report(boot="b", full=True, server=ServerState.READY))
    assert sight.pods() == ["p1", "p2"]
    sight.mesh.envoy["digits"] = Route("digits", ("h:1",))
    assert sight.observer.observe("digits").stranger
    assert sight.pods() == ["p1", "p2", "p3", "p4"]


def test_without_a_target_it_sees_the_pool_that_served_last() -> None:
    """What is silent there may serve on."""
    sight = Sight(make_model(status=ModelStatus(runtime="triton-2.x")))
    sight.deliver(make_model(status=ModelStatus(runtime="triton-2.x")), storage=None)
    assert sight.pods() == ["p3", "p4"]
    sight.deliver(storage=None)
    assert sight.pods() == []


def test_it_brings_together_what_the_others_say() -> None:
    """Model, target, route, want, loss: as they are now."""
    sight = Sight(make_model())
    sight.activators.wants["digits"] = Want(load=True)
    sight.hold("p1", "r0")
    sight.fleet.report("p1", Report(boot="b", full=True, server=ServerState.LOST))
    seen = sight.observer.observe("digits")
    assert (seen.model, seen.want, seen.lost, seen.route) == (make_model(), Want(load=True), True, None)
    assert isinstance(seen.target, Target)
    assert seen.memory.revision == seen.target.revision
    assert sight.observer.observe("nobody").model is None


def test_what_a_status_says_of_loads_is_remembered_of_that_spec_alone() -> None:
    """Not of one that came while the Secret was away, and no load had been looked at."""
    failed = make_condition("UpToDate", "False", "ModelNotFound", "why")
    status = make_status(failed, active="r0", observed_generation=1)
    sight = Sight(make_model(status=status), storage=StorageConfig({}))
    first = sight.observer.observe("digits").memory
    assert first.failure == Failure(reason="ModelNotFound", message="why")
    assert first.uid == ""
    sight.deliver(make_model(status=status, generation=2), storage=StorageConfig({}))
    assert sight.observer.observe("digits").memory.failure is None
    sight.deliver(make_model(status=status), storage=secret())
    assert sight.observer.observe("digits").memory.failure == first.failure


def test_it_remembers_a_model_until_the_last_copy_is_gone() -> None:
    """And nothing of names that were only asked for."""
    sight = Sight(make_model())
    sight.hold("p1", "r0", CopyState.UNLOADING)
    sight.observer.observe("digits")
    sight.observer.remember("digits", evicting(sight.observer.memory("digits"), CopyRef("p1", make_key("r0"))))
    sight.deliver(storage=secret())
    assert sight.observer.observe("digits").memory.evict == CopyRef("p1", make_key("r0"))
    sight.fleet.report("p1", Report(boot="b", full=True, server=ServerState.READY))
    sight.observer.observe("digits")
    sight.observer.observe("nobody")
    assert sight.observer.memory("digits") == Memory()
    assert sight.observer._memories == {}

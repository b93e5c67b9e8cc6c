"""What is to be done about a pool, from what is wanted and what is there."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.domain.errors import EventReason
from orchestrator.domain.fleet import Pool
from orchestrator.platform.kube.answers import unreadable
from orchestrator.platform.kube.deployment import PoolObjects, pool_objects
from orchestrator.platform.kube.pool_book import STUCK_S, Apply, Delete, Done, End, Keep, Leave, PoolBook, read_alone
from tests.orchestrator.platform.kube.making import SETTINGS, Raw, make_kube_runtime, make_raw_pod
from tests.properties import examples

OBJECTS = pool_objects(make_kube_runtime(), SETTINGS)
NAME = OBJECTS.name


def keep(replicas: int, objects: PoolObjects = OBJECTS) -> Keep:
    return Keep(objects=objects, replicas=replicas)


def stored(replicas: int = 1, uid: str = "d1", generation: int = 1) -> Raw:
    raw = copy.deepcopy(OBJECTS.at(replicas))
    raw["metadata"] |= {"uid": uid, "generation": generation}
    return raw


def make_book(*deployments: Raw, clock: Callable[[], float] = lambda: 0.0) -> PoolBook:
    book = PoolBook(clock)
    book.list_deployments(deployments)
    book.list_pods([])
    return book


def test_nothing_is_known_before_both_lists_are_in() -> None:
    """An empty list of pods that was not listed would be taken for the truth."""
    book = PoolBook(lambda: 0.0)
    steps = (lambda: None, lambda: book.list_pods([make_raw_pod()]), lambda: book.list_deployments([]))
    told = []
    for step in steps:
        step()
        told.append(book.listed)
    assert told == [False, False, True]
    assert [pod.name for pod in book.pods()] == ["p1"]


def test_a_pool_without_a_wish_is_left_as_it_is_and_told() -> None:
    """Of a leader before: this one has not yet decided."""
    book = make_book(stored(replicas=3), {"metadata": {"name": "mine", "uid": "x"}, "spec": {}})
    assert book.step("triton-2.x") == Done()
    assert book.pools() == {"triton-2.x": Pool(3)}


def test_what_is_wanted_again_is_no_news() -> None:
    """Another number is, another spec, or its end."""
    book = make_book()
    assert book.want("triton-2.x", keep(1))
    assert not book.want("triton-2.x", keep(1, pool_objects(make_kube_runtime(), SETTINGS)))
    other = pool_objects(make_kube_runtime(container={"image": "other"}), SETTINGS)
    assert all(book.want("triton-2.x", wish) for wish in (keep(2), keep(2, other), End()))


def test_a_deployment_that_is_going_is_waited_for() -> None:
    """It would be applied to something that nobody can keep; what keeps it there is somebody's to take away."""
    going = {"deletionTimestamp": "x", "finalizers": ["mine/a", "mine/b"]}
    book = make_book(stored() | {"metadata": stored()["metadata"] | going})
    book.want("triton-2.x", keep(1))
    said = f"Deployment {NAME} is being deleted, and waits for mine/a, mine/b: it is made again once it is gone"
    assert book.step("triton-2.x") == Leave(reason=EventReason.DEPLOYMENT_GOING, message=said)
    assert book.deployment("DELETED", stored()) == {"triton-2.x"}
    assert isinstance(book.step("triton-2.x"), Apply)


def test_the_end_of_a_pool_is_of_ours_alone() -> None:
    """One that is not ours is not deleted either."""
    foreign = {"metadata": {"name": NAME, "uid": "x"}, "spec": {}}
    book = make_book(foreign)
    book.want("triton-2.x", End())
    assert book.step("triton-2.x") == Done()
    book.deployment("MODIFIED", stored())
    assert book.step("triton-2.x") == Delete(name=NAME, uid="d1")
    assert book.pools() == {"triton-2.x": Pool(0)}
    book.deployment("DELETED", stored())
    assert book.pools() == {}


def test_trouble_is_news_once_and_so_is_its_end() -> None:
    """It goes before what the Deployment says."""
    refused = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "quota"}]}
    book = make_book(stored() | {"status": refused})
    book.want("triton-2.x", keep(1))
    assert [book.trouble("triton-2.x", said) for said in ("", "a", "a", "b", "", "")] == [
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert book.pools() == {"triton-2.x": Pool(1, "its pods are refused: quota")}
    book.trouble("triton-2.x", "worse")
    assert book.pools() == {"triton-2.x": Pool(1, "worse")}


def test_what_is_not_shown_is_told_of_each_pool() -> None:
    """Beside its own trouble, in one order whichever came first."""
    book = make_book(stored())
    book.want("triton-2.x", keep(1))
    book.trouble("triton-2.x", "worse")
    for kind in ("pods", "Deployments"):
        book.refused(kind, "no")
    aside = "the API server refuses to show Deployments: no; the API server refuses to show pods: no"
    assert book.pools() == {"triton-2.x": Pool(1, "worse", aside=aside)}
    book.refused("pods", "")
    book.refused("Deployments", "")
    assert book.pools() == {"triton-2.x": Pool(1, "worse")}


def ended(name: str, uid: str = "") -> Raw:
    raw = make_raw_pod(name, phase="Failed", reason="Evicted", message="The node was low on resource: memory. ")
    raw["metadata"]["uid"] = uid or f"uid-{name}"
    return raw


def test_pods_that_fail_one_after_the_other_are_the_pools_trouble() -> None:
    """None is listed; while one is ready, or after one was, an earlier failure is of no interest."""
    book = make_book(stored())
    said = Pool(1, "its last pod failed: Evicted: The node was low on resource: memory")
    book.pod("ADDED", ended("p1"))
    assert (book.pods(), book.pools()) == ((), {"triton-2.x": said})
    book.pod("ADDED", make_raw_pod("p2"))
    assert book.pools() == {"triton-2.x": said}
    book.pod("MODIFIED", make_raw_pod("p2", phase="Running", conditions=[{"type": "Ready", "status": "True"}]))
    assert book.pools() == {"triton-2.x": Pool(1)}
    book.pod("DELETED", make_raw_pod("p2"))
    book.pod("ADDED", make_raw_pod("p3"))
    assert book.pools() == {"triton-2.x": Pool(1)}
    book.pod("MODIFIED", ended("p3"))
    assert book.pools() == {"triton-2.x": said}
    book.want("triton-2.x", keep(0))
    assert book.pools() == {"triton-2.x": Pool(0)}


def test_a_pod_that_its_node_does_not_begin_with_is_told_after_a_minute() -> None:
    """Whatever else is said of it meanwhile; and not when it has begun."""
    now = 100.0
    book = make_book(stored(), clock=lambda: now)
    begun = [{"type": "PodScheduled", "status": "True"}, {"type": "PodReadyToStartContainers", "status": "True"}]
    waits = [begun[0], {**begun[1], "status": "False"}]
    book.pod("ADDED", make_raw_pod(conditions=waits))
    now += STUCK_S - 1
    book.pod("MODIFIED", make_raw_pod(conditions=waits))
    assert [pod.message for pod in book.pods()] == [""]
    now += 1
    assert "its Events say which" in book.pods()[0].message
    book.pod("MODIFIED", make_raw_pod(conditions=begun))
    assert [pod.message for pod in book.pods()] == [""]


def test_trouble_is_of_one_serving_runtime() -> None:
    """Another number of pods does not end it; another ServingRuntime of that name has none yet."""
    book = make_book(stored())
    book.want("triton-2.x", keep(1))
    book.trouble("triton-2.x", "ServingRuntime triton-2.x has been deleted")
    book.want("triton-2.x", keep(2))
    assert book.pools()["triton-2.x"].message
    objects = pool_objects(make_kube_runtime(uid="runtime-2"), SETTINGS)
    book.want("triton-2.x", Keep(objects=objects, replicas=2))
    assert book.pools() == {"triton-2.x": Pool(2)}


def test_a_runtime_that_cannot_be_read_stops_nothing_that_runs() -> None:
    """What runs was good once."""
    book = make_book(stored())
    book.want("triton-2.x", Keep(objects="no spec", replicas=1))
    assert book.step("triton-2.x") == Leave(reason=EventReason.INVALID_SERVING_RUNTIME, message="no spec")
    assert (book.owner("triton-2.x"), book.pools()) == ("", {"triton-2.x": Pool(1)})


def test_a_runtime_that_cannot_be_read_and_that_nobody_needs_has_no_pods() -> None:
    """It is reported by whoever reads it: there is nothing to say of its pool."""
    book = make_book(stored())
    book.want("triton-2.x", Keep(objects="no spec", replicas=0))
    assert isinstance(book.step("triton-2.x"), Delete)
    none = make_book()
    none.want("triton-2.x", Keep(objects="no spec", replicas=0))
    assert none.step("triton-2.x") == Done()


class PoolMachine(RuleBasedStateMachine):
    """An API server, a watch that lags behind it, somebody who meddles, and a worker that does what the book says."""

    def __init__(self) -> None:
        super().__init__()
        self.book = make_book()
        self.server: Raw | None = None
        self.news: list[tuple[str, Raw]] = []
        self.book.list_budgets([])
        self.budget: Raw | None = None
        self.budget_news: list[tuple[str, Raw]] = []
        self.uids = itertools.count(1)
        self.wish: int | None = None

    @rule(replicas=st.integers(0, 3))
    def want(self, replicas: int) -> None:
        self.book.want("triton-2.x", keep(replicas))
        self.wish = replicas

    @rule()
    def want_the_end(self) -> None:
        self.book.want("triton-2.x", End())
        self.wish = None

    @rule()
    def work(self) -> None:
        """One step, as the shell takes it."""
        match self.book.step("triton-2.x"):
            case Apply(objects=objects, replicas=replicas, uid=uid):
                if uid != (self.server["metadata"]["uid"] if self.server else None):
                    return
                before = self.server
                body: dict[str, Any] = copy.deepcopy(objects.at(replicas))
                metadata: Raw = before["metadata"] if before else {"uid": f"d{next(self.uids)}", "generation": 0}
                changed = before is None or before["spec"] != body["spec"]
                body["metadata"] |= {
                    "uid": metadata["uid"],
                    "generation": metadata["generation"] + changed,
                }
                self.write("MODIFIED" if before else "ADDED", body)
                self.budget = copy.deepcopy(objects.budget)
                self.budget_news.append(("MODIFIED", self.budget))
                self.book.applied(objects, replicas, body, self.budget)
            case Delete(uid=uid):
                if self.server is not None and self.server["metadata"]["uid"] == uid:
                    self.write("DELETED", self.server)
            case Done():
                pass
            case Leave():
                raise AssertionError("nobody else is here")

    @rule(replicas=st.integers(0, 3))
    def meddle(self, replicas: int) -> None:
        """Another number, by hand."""
        if self.server is not None and self.server["spec"]["replicas"] != replicas:
            body = copy.deepcopy(self.server)
            body["spec"]["replicas"] = replicas
            body["metadata"]["generation"] += 1
            self.write("MODIFIED", body)

    @rule()
    def strip(self) -> None:
        """Labels that are ours, by hand: such a one is not ours any more, and is nobody's to delete."""
        if self.server is not None:
            body = copy.deepcopy(self.server)
            body["metadata"]["annotations"].pop("wmlserving.ai.ibm.com/applied", None)
            self.write("MODIFIED", body)

    @rule()
    def delete(self) -> None:
        if self.server is not None:
            self.write("DELETED", self.server)

    @rule(deletes=st.booleans())
    def meddle_with_the_budget(self, deletes: bool) -> None:
        """By hand: so that nothing may be evicted, or all of it."""
        if self.budget is None:
            return
        if deletes:
            self.budget_news.append(("DELETED", self.budget))
            self.budget = None
        else:
            self.budget = copy.deepcopy(self.budget)
            self.budget["spec"]["maxUnavailable"] = 0
            self.budget_news.append(("MODIFIED", self.budget))

    @rule()
    def watch(self) -> None:
        """One event comes through."""
        if self.news:
            self.book.deployment(*self.news.pop(0))
        elif self.budget_news:
            self.book.budget(*self.budget_news.pop(0))

    def write(self, kind: str, raw: Raw) -> None:
        self.server = None if kind == "DELETED" else raw
        self.news.append((kind, raw))

    @invariant()
    def what_is_wanted_is_told(self) -> None:
        """Whatever is there."""
        pool = self.book.pools().get("triton-2.x")
        if self.wish is not None:
            assert pool is not None
            assert pool.replicas == self.wish

    def teardown(self) -> None:
        """Left alone it comes to what is wanted, and then there is nothing to do."""
        for _ in range(4):
            while self.news or self.budget_news:
                self.watch()
            self.work()
        while self.news or self.budget_news:
            self.watch()
        assert self.book.step("triton-2.x") == Done()
        if self.wish is None:
            # Without a wish ever, there is nothing; with one that ended, it is gone.
            assert self.server is None
        elif self.server is None:
            assert self.wish == 0
        else:
            assert self.server["spec"]["replicas"] == self.wish
            assert self.budget is not None
            assert self.budget["spec"] == OBJECTS.budget["spec"]


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = examples(100, stateful_step_count=25, deadline=None)


def test_what_cannot_be_read_is_as_it_was_and_says_so() -> None:
    """One that was never read has no address; another of its name is another; others are as they are."""
    book = make_book()
    book.pod("ADDED", make_raw_pod("p1", podIP="10.0.0.7"))
    odd = [unreadable(make_raw_pod("p1", podIP="10.0.0.8"), "odd"), unreadable(make_raw_pod("p2"), "odd")]
    for raw in odd:
        book.pod("MODIFIED", raw)
    book.pod("ADDED", make_raw_pod("p3", podIP="10.0.0.9"))
    for _ in range(2):
        said = {pod.name: (pod.adapter, pod.message) for pod in book.pods()}
        assert said == {"p1": ("10.0.0.7:8085", "odd"), "p2": ("", "odd"), "p3": ("10.0.0.9:8085", "")}
        book.list_pods([*odd, make_raw_pod("p3", podIP="10.0.0.9")])
    book.pod("MODIFIED", make_raw_pod("p1", podIP="10.0.0.8"))
    book.pod("DELETED", odd[1])
    odd[0]["metadata"]["uid"] = "another"
    assert [(pod.name, pod.adapter, pod.message) for pod in book.pods()] == [
        ("p1", "10.0.0.8:8085", ""),
        ("p3", "10.0.0.9:8085", ""),
    ]
    book.pod("MODIFIED", odd[0])
    assert [(pod.uid, pod.adapter) for pod in book.pods()] == [("another", ""), ("uid-p3", "10.0.0.9:8085")]


def test_a_deployment_that_cannot_be_read_keeps_its_pods_and_is_put_right() -> None:
    """What was never read of it is applied; then nothing is until more is known."""
    book = make_book(unreadable(stored(), "odd"))
    assert book.pools() == {"triton-2.x": Pool(1, "odd")}
    book.want("triton-2.x", keep(2))
    assert book.step("triton-2.x") == Apply(objects=OBJECTS, replicas=2, uid="d1", repair=False)
    book.applied(OBJECTS, 2, stored(2, generation=2), OBJECTS.budget)
    book.deployment("MODIFIED", unreadable(stored(2, generation=2), "odd"))
    assert book.step("triton-2.x") == Done()
    assert book.pools() == {"triton-2.x": Pool(2, "odd")}
    book.deployment("MODIFIED", stored(2, generation=2))
    assert book.pools() == {"triton-2.x": Pool(2)}


def test_that_it_is_being_deleted_is_seen_of_what_cannot_be_read() -> None:
    """Else models would stay in a pod that ends."""
    book = make_book(stored())
    book.want("triton-2.x", keep(1))
    book.list_pods([make_raw_pod(podIP="10.0.0.7")])
    deployment = stored()
    deployment["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    book.deployment("MODIFIED", unreadable(deployment, "odd"))
    book.pod("MODIFIED", unreadable(make_raw_pod(deletionTimestamp="2026-01-01T00:00:00Z"), "odd"))
    assert isinstance(book.step("triton-2.x"), Leave)
    assert [(pod.adapter, pod.terminating) for pod in book.pods()] == [("10.0.0.7:8085", True)]


@pytest.mark.parametrize(
    "objects",
    [
        {"pods": [make_raw_pod(conditions=["odd"])]},
        {"pods": [make_raw_pod("p2"), make_raw_pod(phase="Running", containerStatuses=["odd"])]},
        {"deployments": [stored() | {"status": {"conditions": ["odd"]}}]},
        {"deployments": [stored() | {"metadata": stored()["metadata"] | {"ownerReferences": ["odd"]}}]},
    ],
)
def test_what_a_book_would_end_of_is_found_by_itself(objects: dict[str, list[Raw]]) -> None:
    """Before it is put beside others."""
    with pytest.raises((AttributeError, KeyError)):
        read_alone(**objects)
    read_alone(deployments=[stored()], pods=[make_raw_pod()])

"""
Withdrawal, simulated: a leader that sees and plans as the real one, Envoys of every kind, adapters that report late.

Router, sessions, observed fleet, desired state, observer and plan are the real
ones; only who carries messages and carries out actions is the test. What holds
must hold in any order of events, the leader's own restart among them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import event, given
from hypothesis import strategies as st

from orchestrator.controller.desired import DesiredState
from orchestrator.controller.observer import Observer
from orchestrator.domain import memory as memories
from orchestrator.domain.action import LoadCopy, PublishRoute, RemoveRoute, UnloadCopy
from orchestrator.domain.conditions import status_of
from orchestrator.domain.fleet import Copy, CopyKey, CopyState, Pod, ServerState
from orchestrator.domain.plan import plan
from orchestrator.domain.routes import Route
from orchestrator.domain.trained_model import ModelStatus, TrainedModel
from orchestrator.domain.withdrawal import ACK_BOUND_S, LAZY_REMOVE_S, WITHDRAW_GRACE_S
from orchestrator.fleet.observed import ObservedFleet, Report
from orchestrator.mesh.resources import ClusterFactory
from orchestrator.mesh.router import Connection, Router
from orchestrator.mesh.session import Request, Response
from tests.orchestrator.builders import NOW as TIMESTAMP
from tests.orchestrator.builders import make_model, make_pod, make_runtime
from tests.orchestrator.controller.bench import secret
from tests.orchestrator.controller.fakes import FakeActivators
from tests.picks import Picks, numbers
from tests.properties import examples

NAME = "digits"
CLUSTER = f"model/{NAME}"
STEPS = 40
#: Rounds in which nothing happens until nothing will.
QUIET = 5
CLUSTERS = ClusterFactory(activator="127.0.0.1:9")


@dataclass(eq=False)
class Envoy:
    """What it routes by, and since when it does not send anything to an endpoint any more."""

    node: str
    connection: Connection | None = None
    held: dict[str, str] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()
    left: dict[str, float] = field(default_factory=dict)
    arriving: list[Response] = field(default_factory=list)
    #: Applied, or refused, and not answered yet.
    unanswered: list[Request] = field(default_factory=list)
    #: It neither reads nor answers any more, and routes as it did.
    frozen: bool = False


@dataclass(eq=False)
class Runtime:
    """A pod with its adapter: what it holds, and the reports that the leader has not read yet."""

    pod: Pod
    boot: int = 1
    copies: dict[CopyKey, CopyState] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)

    def report(self, *gone: CopyKey, full: bool = False) -> None:
        copies = tuple(Copy(key=k, pod=self.pod.uid, state=s, reserved=1) for k, s in sorted(self.copies.items()))
        self.reports.append(
            Report(boot=f"b{self.boot}", full=full, server=ServerState.READY, total=100, copies=copies, gone=gone)
        )


class World:
    """One model, two pods, up to three Envoys."""

    def __init__(self, envoys: int) -> None:
        self.now = 100.0
        self.envoys = [Envoy(f"mesh-{n}") for n in range(envoys)]
        self.runtimes = {uid: Runtime(make_pod(uid)) for uid in ("p1", "p2")}
        self.endpoints: dict[str, tuple[str, ...]] = {}
        self.model: TrainedModel | None = None
        self.born = 0
        #: Since when no route that the leader has published leads to an endpoint.
        self.withdrawn: dict[str, float] = {}
        self.unloads = 0
        self.lead()

    # The leader.

    def lead(self) -> None:
        """A new one, which knows nothing: its streams begin anew."""
        self.router = Router(clusters=CLUSTERS, now=lambda: self.now, on_change=lambda names: None)
        self.router.expect(frozenset(envoy.node for envoy in self.envoys))
        self.fleet, self.desired = ObservedFleet(), DesiredState()
        self.observer = Observer(self.desired, self.fleet, self.router, FakeActivators(), lambda: self.now)
        self.withdrawn = {}
        self.fleet.list_pods(runtime.pod for runtime in self.runtimes.values())
        for runtime in self.runtimes.values():
            runtime.reports.clear()
            runtime.report(full=True)
        for envoy in self.envoys:
            envoy.connection = None
            envoy.arriving.clear()
            envoy.unanswered.clear()
        self.deliver()

    def deliver(self) -> None:
        models = {NAME: self.model} if self.model is not None else {}
        runtime = make_runtime()
        self.desired.replace(models=models, runtimes={runtime.name: runtime}, storage=secret(), config={})

    def look(self) -> float | None:
        """One reconcile."""
        seen = self.observer.observe(NAME)
        decided = plan(seen, self.now)
        for action in decided.actions:
            match action:
                case PublishRoute(route):
                    self.publish(route)
                case RemoveRoute(model):
                    self.router.remove(model)
                case UnloadCopy(pod, key):
                    self.unload(pod, key)
                case LoadCopy(pod, key, target):
                    self.fleet.sending_load(pod, key)
                    self.runtimes[pod].copies.setdefault(key, CopyState.DOWNLOADING)
                    self.observer.remember(NAME, memories.commanded(self.observer.memory(NAME), target, pod))
                case _:
                    raise AssertionError(f"there is room for all: {action}")
        seen = self.observer.observe(NAME)
        status = status_of(seen, TIMESTAMP)
        if seen.model is not None and status is not None:
            self.desired.status_written(NAME, seen.model.uid, status)
            assert self.model is not None
            self.model = replace(self.model, status=status)
        return decided.requeue_after

    def publish(self, route: Route) -> None:
        """A route leads to copies of this very model only, whatever else has its name."""
        uid = self.model.uid if self.model is not None else ""
        for runtime in self.runtimes.values():
            if runtime.pod.endpoint in route.endpoints:
                assert any(c.key.uid == uid for c in self.fleet.copies(NAME) if c.pod == runtime.pod.uid)
                loaded = {k for k, s in runtime.copies.items() if s is CopyState.LOADED}
                assert not loaded or uid in {k.uid for k in loaded}, "it is another model's copy"
                self.withdrawn.pop(runtime.pod.endpoint, None)
            else:
                self.withdrawn.setdefault(runtime.pod.endpoint, self.now)
        self.endpoints[CLUSTERS.resource(route).version] = route.endpoints
        self.router.publish(route)

    def unload(self, pod: str, key: CopyKey) -> None:
        """No Envoy sends there any more, as far as can be waited for."""
        runtime = self.runtimes[pod]
        # One that is on its way as far as the leader has heard may have loaded since: then a retry finds the activator.
        believed = {c.key for c in self.fleet.copies(NAME) if c.pod == pod and c.state is CopyState.LOADED}
        if key in believed and runtime.copies.get(key) is CopyState.LOADED:
            endpoint = runtime.pod.endpoint
            view = self.router.view(NAME)
            in_place = view is not None and endpoint in view.route.endpoints
            bound = self.withdrawn.get(endpoint, self.now) + ACK_BOUND_S <= self.now
            left = [e.left.get(endpoint, 0.0) + WITHDRAW_GRACE_S <= self.now for e in self.envoys]
            assert in_place or bound or all(left), "requests still go there"
            self.unloads += 1
            event("unloaded: " + ("in place" if in_place else "ACKed by all" if all(left) else "the bound is over"))
        self.fleet.sending_unload(pod, key)
        if key in runtime.copies:
            runtime.copies[key] = CopyState.UNLOADING

    # Everybody else.

    def looks(self, _: Picks) -> None:
        self.look()

    def succeeds(self, _: Picks) -> None:
        self.lead()

    def user(self, picks: Picks) -> None:
        """Deletes, creates under the same name, changes."""
        if self.model is None:
            self.born += 1
            self.model = make_model(NAME, uid=f"u{self.born}", status=ModelStatus())
        elif picks.pick(True, False):
            self.model = None
        else:
            uri = picks.pick("s3://models/a", "s3://models/b")
            self.model = replace(self.model, storage_uri=uri)
        self.deliver()

    def evict(self, _: Picks) -> None:
        """Another model needs the room."""
        for copy in self.fleet.copies(NAME):
            if copy.state is CopyState.LOADED:
                self.observer.remember(NAME, memories.evicting(self.observer.memory(NAME), copy.ref))

    def adapter(self, picks: Picks) -> None:
        """Goes on with what it was told, reports late, restarts with its server, is silent until it reports again."""
        runtime = picks.pick(*self.runtimes.values())
        picks.pick(self.goes_on, self.is_read, self.goes_on, self.is_read, self.falls_silent, self.reboots)(runtime)

    def goes_on(self, runtime: Runtime) -> None:
        for key, state in list(runtime.copies.items()):
            if state is CopyState.UNLOADING:
                del runtime.copies[key]
                return runtime.report(key)
            if state is CopyState.DOWNLOADING:
                # A server knows names: what it loads takes the place of what it had.
                replaced = [k for k, s in runtime.copies.items() if s is CopyState.LOADED]
                for old in replaced:
                    del runtime.copies[old]
                runtime.copies[key] = CopyState.LOADED
                return runtime.report(*replaced)

    def is_read(self, runtime: Runtime) -> None:
        if runtime.reports:
            self.fleet.report(runtime.pod.uid, runtime.reports.pop(0))

    def falls_silent(self, runtime: Runtime) -> None:
        self.fleet.disconnected(runtime.pod.uid)
        runtime.reports.clear()
        runtime.report(full=True)

    def reboots(self, runtime: Runtime) -> None:
        runtime.boot += 1
        runtime.copies.clear()
        runtime.report(full=True)

    def envoy(self, picks: Picks) -> None:
        """Reads, answers, reconnects, or is never heard again."""
        envoy = picks.pick(*self.envoys)
        if not envoy.frozen:
            often = (self.reads, self.reads, self.answers)
            act = picks.pick(*often, *often, self.redials, *often, self.refuses, *often, self.freezes)
            act(envoy)

    def is_sent(self, envoy: Envoy) -> None:
        if envoy.connection is None:
            envoy.connection = self.router.connect(envoy.node, Request(initial_versions=envoy.held), lambda: None)
        envoy.arriving += envoy.connection.responses()

    def reads(self, envoy: Envoy) -> None:
        if envoy.arriving:
            response = envoy.arriving.pop(0)
            self.apply(envoy, response)
            envoy.unanswered.append(Request(nonce=response.nonce))
        else:
            self.is_sent(envoy)

    def refuses(self, envoy: Envoy) -> None:
        if envoy.arriving:
            envoy.unanswered.append(Request(nonce=envoy.arriving.pop(0).nonce, error="no"))

    def apply(self, envoy: Envoy, response: Response) -> None:
        before = envoy.endpoints
        for made in response.resources:
            envoy.held[made.name], envoy.endpoints = made.version, self.endpoints[made.version]
        if CLUSTER in response.removed:
            envoy.held.pop(CLUSTER, None)
            envoy.endpoints = ()
        for gone in set(before) - set(envoy.endpoints):
            envoy.left[gone] = self.now
        for here in envoy.endpoints:
            envoy.left[here] = float("inf")

    def answers(self, envoy: Envoy) -> None:
        if envoy.connection is not None and envoy.unanswered:
            self.router.receive(envoy.connection, envoy.unanswered.pop(0))

    def redials(self, envoy: Envoy) -> None:
        if envoy.connection is not None:
            self.router.disconnect(envoy.connection)
        envoy.connection = None
        envoy.arriving.clear()
        envoy.unanswered.clear()

    def freezes(self, envoy: Envoy) -> None:
        envoy.frozen = True

    def time(self, picks: Picks) -> None:
        self.now += picks.pick(0.05, 0.3, 1.0, ACK_BOUND_S, 1.0, LAZY_REMOVE_S)

    def step(self, picks: Picks) -> None:
        """One thing happens."""
        picks.pick(
            self.looks,
            self.envoy,
            self.adapter,
            self.time,
            self.looks,
            self.envoy,
            self.user,
            self.adapter,
            self.evict,
            self.looks,
            self.envoy,
            self.succeeds,
        )(picks)

    def settle(self, seconds: int) -> None:
        """Whoever answers does; those that are frozen stay so. No longer than there is something to happen."""
        quiet, last = 0, self.observer.observe(NAME)
        for _ in range(seconds):
            due = self.look()
            for runtime in self.runtimes.values():
                self.goes_on(runtime)
                while runtime.reports:
                    self.is_read(runtime)
            for envoy in self.envoys:
                if not envoy.frozen:
                    self.reads(envoy)
                    self.reads(envoy)
                    self.answers(envoy)
            self.now += 1.0
            seen = self.observer.observe(NAME)
            # Messages under way show in nothing for some rounds.
            quiet, last = (quiet + 1 if due is None and seen == last else 0), seen
            if quiet == QUIET:
                return


@examples(80)
@given(st.integers(1, 3), st.lists(numbers, min_size=STEPS, max_size=STEPS))
def test_a_copy_leaves_when_no_request_can_reach_it_and_then_it_leaves(envoys: int, steps: list[Picks]) -> None:
    """
    Laws 3 and 5.

    No copy is unloaded before its route was withdrawn and every Envoy left it, or the bound is over; no Envoy that is
    silent for ever keeps one; no route of a model leads to a copy of another that had its name. In the end the
    model's copy serves, if there is one, and nothing else is left; each Envoy that answers routes by that.
    """
    world = World(envoys)
    world.user(Picks(0))
    world.settle(5)
    for picks in steps:
        world.step(picks)
    world.settle(60)
    left = {(uid, key): state for uid, runtime in world.runtimes.items() for key, state in runtime.copies.items()}
    seen = world.observer.observe(NAME)
    expected = {(c.pod, c.key): CopyState.LOADED for c in seen.serving}
    assert left == expected
    if seen.model is None:
        assert not left
    elif seen.serving:
        assert {c.key for c in seen.serving} == {seen.target_key}
    else:
        assert seen.memory.evicted
    for envoy in world.envoys:
        if not envoy.frozen:
            assert envoy.endpoints == seen.endpoints

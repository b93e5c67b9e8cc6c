"""
The ports of the controller by hand: small worlds that hold state and do what they are told after a moment.

Nothing here checks how it is called; tests look at what has become of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from orchestrator.domain.demand import Answer, Want
from orchestrator.domain.errors import FleetError
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyKey, CopyState, Failure, LoadOrder, Pod, Pool, ServerState
from orchestrator.domain.routes import Route, RouteView
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import Credentials, StorageConfig
from orchestrator.domain.trained_model import ModelStatus, TrainedModel
from orchestrator.fleet.observed import Changes, ObservedFleet, Report
from orchestrator.ports import DesiredSink, OnPods
from tests.orchestrator.builders import make_pod

#: How long anything takes, seconds.
MOMENT = 0.01


def now() -> float:
    return asyncio.get_running_loop().time()


def later(action: Callable[[], None], after_s: float = MOMENT) -> None:
    asyncio.get_running_loop().call_later(after_s, action)


@dataclass
class FakePlatform:
    """Objects, statuses, events and pools: `DesiredSource`, `StatusWriter`, `Recorder` and `Pools`."""

    models: dict[str, TrainedModel] = field(default_factory=dict)
    runtimes: dict[str, ServingRuntime] = field(default_factory=dict)
    storage: StorageConfig | None = None
    config: dict[str, str] = field(default_factory=dict)
    writes: list[tuple[str, ModelStatus]] = field(default_factory=list)
    events: list[tuple[str, bool, str, str]] = field(default_factory=list)
    replicas: dict[str, int] = field(default_factory=dict)
    images: dict[str, list[str]] = field(default_factory=dict)
    #: What ails the pools, by runtime: gone with the ServingRuntime that it is about.
    troubles: dict[str, str] = field(default_factory=dict)
    #: The most that any pool was ever to have.
    peak: int = 0
    #: Pods that are too many end only when the test says so: until then they are on their way out.
    lingers: bool = False
    pods: list[Pod] = field(default_factory=list)
    on_pods: OnPods = lambda pods, pools: None
    #: What writing a status raises, if anything; and how long it takes to, or to be stored.
    trouble: Exception | None = None
    slow_s: float = 0.0
    _started: int = 0
    _owners: dict[str, str] = field(default_factory=dict)

    def deliver(self, sink: DesiredSink, *, deleted: Collection[tuple[str, str]] | None = None) -> None:
        """A complete listing, statuses echoed."""
        sink.replace(
            models=dict(self.models),
            runtimes=dict(self.runtimes),
            storage=self.storage,
            config=dict(self.config),
            deleted=deleted,
        )

    async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
        await asyncio.sleep(self.slow_s)
        if self.trouble:
            raise self.trouble
        self.writes.append((name, status))
        model = self.models.get(name)
        if model is not None and model.uid == uid:
            self.models[name] = replace(model, status=status)

    def event(self, name: str, uid: str, *, warning: bool, reason: str, message: str) -> None:
        self.events.append((name, warning, reason, message))

    async def scale(self, runtime: ServingRuntime, replicas: int) -> None:
        if runtime.raw:
            self.images[runtime.name] = [c["image"] for c in runtime.raw["spec"]["containers"]]
        if self._owners.get(runtime.name) != runtime.uid:
            self._owners[runtime.name] = runtime.uid
            self.troubles.pop(runtime.name, None)
        self.replicas[runtime.name] = replicas
        self.tell()
        self.peak = max(self.peak, replicas)
        later(lambda: self._run_pods(runtime.name))

    async def end(self, runtime: str) -> None:
        self.replicas[runtime] = 0
        self.tell()
        later(lambda: self._run_pods(runtime))

    async def run(self, on_pods: OnPods) -> None:
        self.on_pods = on_pods
        self.tell()

    def tell(self) -> None:
        """The list as it is now."""
        pools = {runtime: Pool(count, self.troubles.get(runtime, "")) for runtime, count in self.replicas.items()}
        self.on_pods(tuple(self.pods), pools)

    def _run_pods(self, runtime: str) -> None:
        # What is on its way out is replaced.
        others = [p for p in self.pods if p.runtime != runtime or p.terminating]
        mine = [p for p in self.pods if p not in others]
        if self.lingers:
            others += [replace(p, terminating=True) for p in mine[self.replicas[runtime] :]]
        mine = mine[: self.replicas[runtime]]
        while len(mine) < self.replicas[runtime]:
            self._started += 1
            mine.append(make_pod(f"p{self._started}", runtime))
        if others + mine != self.pods:
            self.pods = others + mine
            self.tell()


@dataclass
class FakeServer:
    """One pod: what its adapter would report."""

    boot: int = 1
    copies: dict[CopyKey, Copy] = field(default_factory=dict)
    #: Reports nothing and takes no command.
    frozen: bool = False
    #: On its way out, and that soon.
    draining: bool = False
    closing: bool = False


@dataclass
class FakeFleet:
    """`Fleet` over a real `ObservedFleet`: commands become reports a moment later."""

    #: Bytes in each pod, and of each model.
    capacity: int = 25
    size: int = 10
    #: How long the loads that begin from now on take.
    lasts_s: float = MOMENT
    #: Why a model's load fails, as long as it does.
    broken: dict[str, Failure] = field(default_factory=dict)
    servers: dict[str, FakeServer] = field(default_factory=dict)
    #: Pods whose adapter never comes.
    absent: set[str] = field(default_factory=set)
    #: Pods whose server starts for ever.
    stuck: set[str] = field(default_factory=set)
    loads: list[tuple[str, str]] = field(default_factory=list)
    unloads: list[tuple[str, str]] = field(default_factory=list)
    credentials: list[Credentials] = field(default_factory=list)
    observed: ObservedFleet = field(default_factory=lambda: ObservedFleet(now))
    on_change: Callable[[frozenset[str], frozenset[str]], None] = lambda models, runtimes: None

    def list_pods(self, pods: tuple[Pod, ...], pools: Mapping[str, Pool], /) -> None:
        """The platform's list; whoever is new reports a moment later."""
        self._tell(self.observed.list_pods(pods, pools))
        listed = {p.uid for p in pods}
        for uid in self.servers.keys() - listed:
            del self.servers[uid]
        for uid in listed:
            view = self.observed.pod(uid)
            if view is not None and not view.known and uid not in self.absent:
                self.servers.setdefault(uid, FakeServer())
                later(partial(self.report, uid, full=True))

    async def load(self, pod: str, order: LoadOrder) -> None:
        key = order.key
        server = self._server(pod, "load")
        self.loads.append((pod, key.model))
        self.credentials.append(order.credentials)
        self.observed.sending_load(pod, key)
        if (held := server.copies.get(key)) is None or held.state is not CopyState.LOADED:
            server.copies[key] = Copy(key=key, pod=pod, state=CopyState.DOWNLOADING)
            later(lambda: self._loaded(pod, server, key), self.lasts_s)

    async def unload(self, pod: str, key: CopyKey) -> None:
        server = self._server(pod, "unload")
        self.unloads.append((pod, key.model))
        self.observed.sending_unload(pod, key)

        def gone() -> None:
            server.copies.pop(key, None)
            self.report(pod, gone=(key,))

        later(gone)

    def report(self, uid: str, *, full: bool = False, gone: tuple[CopyKey, ...] = ()) -> None:
        """All that the pod holds."""
        server = self.servers.get(uid)
        if server is None or server.frozen:
            return
        copies = tuple(server.copies.values())
        reserved = sum(c.reserved for c in copies)
        up = ServerState.STARTING if uid in self.stuck else ServerState.READY
        state = up if server.boot else ServerState.LOST
        boot = f"{uid}-{server.boot}"
        self._tell(
            self.observed.report(
                uid,
                Report(
                    boot=boot,
                    full=full,
                    server=state,
                    total=self.capacity,
                    reserved=reserved,
                    copies=copies,
                    gone=gone,
                    draining=server.draining,
                    closing=server.closing,
                ),
            )
        )

    def kill(self, uid: str, *, back: bool = True) -> None:
        """The server dies, and is started again if `back`."""
        server = self.servers[uid]
        boot, server.boot = server.boot, 0
        server.copies.clear()
        self.report(uid)

        def again() -> None:
            server.boot = boot + 1
            self.report(uid, full=True)

        if back:
            later(again)

    def drain(self, uid: str, *, closing: bool = False) -> None:
        """The adapter is told that its pod is about to end."""
        self.servers[uid].draining, self.servers[uid].closing = True, closing
        self.report(uid)

    def silence(self, uid: str) -> None:
        """The adapter does not answer any more; what it holds serves on."""
        self.servers[uid].frozen = True
        self._tell(self.observed.disconnected(uid))

    def loaded(self) -> set[str]:
        """The models that are in some server's memory."""
        copies = [c for s in self.servers.values() for c in s.copies.values()]
        return {c.key.model for c in copies if c.state is CopyState.LOADED}

    def _loaded(self, pod: str, server: FakeServer, key: CopyKey) -> None:
        if server.copies.get(key) is None or self.servers.get(pod) is not server:
            return
        free = self.capacity - sum(c.reserved for c in server.copies.values())
        failure = self.broken.get(key.model)
        if failure is None and free < self.size:
            failure = Failure(reason=NO_ROOM, message="full", needed=self.size, available=free)
        state = CopyState.LOADED if failure is None else CopyState.FAILED
        reserved = self.size if failure is None else 0
        server.copies[key] = Copy(key=key, pod=pod, state=state, reserved=reserved, failure=failure)
        self.report(pod)

    def _server(self, pod: str, what: str) -> FakeServer:
        server = self.servers.get(pod)
        if server is None or server.frozen or not server.boot:
            raise FleetError(f"{what}: UNAVAILABLE: not ready")
        return server

    def _tell(self, changes: Changes) -> None:
        if changes.models or changes.runtimes:
            self.on_change(changes.models, changes.runtimes)


@dataclass
class FakeMesh:
    """`Mesh`: one Envoy, which accepts what is published a moment later unless it is frozen, or away."""

    frozen: bool = False
    #: It has not dialled since the controller started.
    away: bool = False
    #: What the Envoy routes by, and what was published here.
    envoy: dict[str, Route] = field(default_factory=dict)
    published: dict[str, RouteView] = field(default_factory=dict)
    on_change: Callable[[frozenset[str]], None] = lambda names: None

    def publish(self, route: Route) -> None:
        view = self.published.get(route.model)
        if view is None or view.route != route:
            self.published[route.model] = RouteView(route=route, acked=False, since=now())
            later(lambda: self._accept(route.model))

    def remove(self, model: str) -> None:
        self.published.pop(model, None)
        if not self.away:
            self.envoy.pop(model, None)

    def view(self, model: str) -> RouteView | None:
        return self.published.get(model)

    def stranger(self, model: str) -> bool:
        return model in self.envoy and model not in self.published and not self.away

    def connect(self) -> None:
        """It dials: it takes what is published, and shows what it holds besides."""
        self.away = False
        self.thaw()
        self.on_change(frozenset(self.envoy))

    def thaw(self) -> None:
        """It goes on, and takes what came meanwhile."""
        self.frozen = False
        for model in self.published:
            self._accept(model)

    def _accept(self, model: str) -> None:
        view = self.published.get(model)
        if view is not None and not (self.frozen or self.away or view.acked):
            self.envoy[model] = view.route
            self.published[model] = replace(view, acked=True, acked_at=now())
            self.on_change(frozenset({model}))


@dataclass
class FakeActivators:
    """`Activators`: one, which wants what it is told to want."""

    wants: dict[str, Want] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    on_want: Callable[[str], None] = lambda name: None

    def want(self, model: str, want: Want | None) -> None:
        """From now on; None: it waits no more."""
        if want is None:
            self.wants.pop(model, None)
            self.answers.pop(model, None)
        else:
            self.wants[model] = want
        self.on_want(model)

    def told(self, model: str) -> Answer | None:
        """The latest word on it."""
        return self.answers.get(model)

    def wanted(self, model: str) -> Want | None:
        return self.wants.get(model)

    def answer(self, model: str, answer: Answer) -> None:
        if model in self.wants:
            self.answers[model] = answer
            self.wants[model] = replace(self.wants[model], stale=False)


def statuses_of(models: Mapping[str, TrainedModel]) -> dict[str, tuple[str, str]]:
    """Status and reason of Ready, by model."""
    found = {name: m.status.condition("Ready") for name, m in models.items()}
    return {name: (c.status, c.reason) for name, c in found.items() if c is not None}

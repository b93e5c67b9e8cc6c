"""
What the controller needs of the world, as Protocols of one to three methods.

Only domain types cross these lines. A platform (`kube`, `local`), the mesh and
the fleet implement them; the controller and its tests' fakes know nothing else.
Callbacks are synchronous and only mark work to do: they never block.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from orchestrator.domain.demand import Answer, Want
from orchestrator.domain.fleet import Copy, CopyKey, LoadOrder, Pod, PodView, Pool
from orchestrator.domain.routes import Route, RouteView
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.trained_model import ModelStatus, TrainedModel


class DesiredSink(Protocol):
    """Where a platform delivers the objects that it watches."""

    def replace(
        self,
        *,
        models: Mapping[str, TrainedModel],
        runtimes: Mapping[str, ServingRuntime],
        storage: StorageConfig | None,
        config: Mapping[str, str],
        deleted: Collection[tuple[str, str]] | None = None,
    ) -> None:
        """
        All objects, by name, from a complete and successful list.

        What is missing in it is absent, and so is what is merely held (`TrainedModel.held_by`). `deleted` says of which models, by name
        and uid, that was said explicitly since the last call: a watch event.
        None: of all, as of a file that is gone from a readable directory. An
        absence that was merely found in a list is acted upon slowly.

        Calling it with equal values does nothing. `storage` is Secret
        `storage-config`, `config` is ConfigMap `wml-serving-config`'s data.
        """

    def change(self, models: Mapping[str, TrainedModel | None], *, deleted: Collection[tuple[str, str]] = ()) -> None:
        """
        These models are so now, None: absent; all else is as it was last delivered. Costs what changed, not what there is.

        Never before the first `replace`. `deleted`: as there, and of these alone.
        """


class DesiredSource(Protocol):
    """Where desired state comes from."""

    async def run(self, sink: DesiredSink) -> None:
        """Deliver to `sink` on each change until cancelled; what cannot be read delivers nothing."""


class StatusWriter(Protocol):
    """Where statuses go."""

    async def write_status(self, name: str, uid: str, status: ModelStatus) -> None:
        """
        Store the status of the model with that uid; a model that is gone is no error.

        Raises PlatformUnavailable when it has to be written later.
        """


class Recorder(Protocol):
    """Where events about a model go: what `describe` lists."""

    def event(self, name: str, uid: str, *, warning: bool, reason: str, message: str) -> None:
        """Record it; an equal one that comes again raises its count."""


class OnPods(Protocol):
    """Where a platform delivers what runs."""

    def __call__(self, pods: tuple[Pod, ...], pools: Mapping[str, Pool], /) -> None:
        """All pods, and by runtime all pools, from a complete and successful list: what is missing in it is gone."""


class Pools(Protocol):
    """What runs runtime pods."""

    async def scale(self, runtime: ServingRuntime, replicas: int) -> None:
        """Have `replicas` pods of this runtime. Idempotent; returns before they run."""

    async def end(self, runtime: str) -> None:
        """Have no pods of the runtime of that name, of which nothing else needs to be known any more."""

    async def run(self, on_pods: OnPods) -> None:
        """Call back with the complete list, now and on each change, until cancelled. No list, no call."""


class Fleet(Protocol):
    """Commands to adapters. Accepted at once; progress shows in the observed copies."""

    async def load(self, pod: str, order: LoadOrder) -> None:
        """Ask the pod (by uid) for a copy. Raises FleetError when it was not accepted."""

    async def unload(self, pod: str, key: CopyKey) -> None:
        """Ask the pod to drop a copy. Raises FleetError when it was not accepted."""


class FleetView(Protocol):
    """What adapters and the platform last said of pods and copies."""

    def pods(self, runtime: str | None = None) -> tuple[PodView, ...]:
        """The pods of one runtime, or all."""

    def pod(self, uid: str) -> PodView | None:
        """The pod with that uid, if the platform lists it."""

    def pool(self, runtime: str) -> Pool | None:
        """The pool of the runtime, if the platform lists one."""

    def copies(self, model: str) -> tuple[Copy, ...]:
        """All copies of that name, of whatever uid and revision."""

    def copies_in(self, pod: str) -> Mapping[CopyKey, Copy]:
        """All copies in one pod."""

    def lost(self, model: str) -> bool:
        """Whether a loaded copy of it vanished with its server since `found` was last called."""

    def found(self, model: str) -> None:
        """The model serves again, or its absence is by choice."""


class Mesh(Protocol):
    """The routes. Every call is local and immediate; ACKs arrive later by callback."""

    def publish(self, route: Route) -> None:
        """Make this the model's route; an equal one changes nothing."""

    def remove(self, model: str) -> None:
        """Forget the model's route in every Envoy, whoever published it."""

    def view(self, model: str) -> RouteView | None:
        """The published route and its ACKs; None if there is none here."""

    def stranger(self, model: str) -> bool:
        """Whether some connected Envoy has a route for this name that was not published here."""


class OnNodes(Protocol):
    """Where a platform delivers which Envoys exist."""

    def __call__(self, nodes: frozenset[str], unheard: frozenset[str] = frozenset(), /) -> None:
        """
        The ids of all of them: each of `nodes` has to accept a route before it counts as accepted.

        Of the `unheard` the platform has had no word for a while: they count as long as they are connected.
        """


class MeshNodes(Protocol):
    """Which Envoys exist."""

    async def run(self, on_nodes: OnNodes) -> None:
        """Call back now and on each change, until cancelled. No list, no call."""


class Activators(Protocol):
    """The demand of all activators, merged."""

    def wanted(self, model: str) -> Want | None:
        """Whether some activator waits for the model now."""

    def answer(self, model: str, answer: Answer) -> None:
        """The latest word for those that wait; an equal one is not repeated."""

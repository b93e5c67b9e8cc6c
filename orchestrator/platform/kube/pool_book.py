"""
What is wanted of each pool, what is there, and what is to be done about the difference. Pure.

Deployments are kept by name whoever made them: one that has the name of a pool
and is not ours is seen before anything is applied over it. What others change
of ours is seen as well, since a change of the spec raises `generation`, and put
right; what the answer to an apply said counts until the watch says more. A
pool's budget is compared as a whole, since little is in it.

A pool that shrinks loses the pod of the cluster's choice: one that is not ready,
else the youngest. It hands its models over as any pod that ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.errors import EventReason
from orchestrator.domain.fleet import Pod, Pool
from orchestrator.platform.kube.answers import UNREADABLE
from orchestrator.platform.kube.deployment import Applied, PoolObjects, foreign, refusal_of, replicas_of, settled
from orchestrator.platform.kube.hardening import Raw
from orchestrator.platform.kube.pods import failed, failure_of, ready, runtime_pods, unmade
from orchestrator.platform.kube.pool_names import pool_name, runtime_of

#: A node that takes so long to begin with a pod's containers lacks something; images are pulled after that.
STUCK_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """A pool that is to be there; `objects` is a text where the ServingRuntime cannot be read."""

    objects: PoolObjects | str
    replicas: int


@dataclass(frozen=True, slots=True)
class End:
    """
    A pool that is to be gone.

    It stays a wish when the pool is: what was applied before may still be on its way here.
    """


Wish = Keep | End


@dataclass(frozen=True, slots=True)
class Done:
    """It is as it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Nothing can be done before somebody else does something: see the message."""

    reason: EventReason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Make it so. `uid`: of the Deployment that is there, None if there is none. `repair`: it was so before."""

    objects: PoolObjects
    replicas: int
    uid: str | None
    repair: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Of both objects of the pool."""

    name: str
    uid: str


Step = Done | Leave | Apply | Delete


class PoolBook:
    """The state of all pools. A runtime without a wish is left as it is found."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._clock = clock
        self._wishes: dict[str, Wish] = {}
        #: Runtime → what the last apply came to.
        self._applied: dict[str, Applied] = {}
        #: Runtime → the spec of its budget, in the answer to the last apply.
        self._budgeted: dict[str, Raw] = {}
        self._troubles: dict[str, str] = {}
        #: By kind, what the API server says instead of showing its objects.
        self._refusals: dict[str, str] = {}
        #: None until they are listed.
        self._deployments: dict[str, Raw] | None = None
        self._pods: dict[str, Raw] | None = None
        self._budgets: dict[str, Raw] | None = None
        #: Uids of pods whose containers cannot be made, and since when that is seen.
        self._unmade: dict[str, float] = {}
        #: Uids of failed pods in whose place another became ready.
        self._replaced: frozenset[str] = frozenset()

    # Questions.

    @property
    def listed(self) -> bool:
        """Whether all there is has been seen."""
        return self._deployments is not None and self._pods is not None

    def pods(self) -> tuple[Pod, ...]:
        """All runtime pods that have not ended."""
        now = self._clock()
        stuck = {uid for uid, since in self._unmade.items() if now - since >= STUCK_S}
        return runtime_pods((self._pods or {}).values(), stuck)

    def pools(self) -> dict[str, Pool]:
        """By runtime: those that are wanted, and those that are there."""
        ours = self._ours()
        kept = {runtime for runtime, wish in self._wishes.items() if isinstance(wish, Keep)}
        return {runtime: self._pool(runtime, ours.get(runtime)) for runtime in sorted(kept | ours.keys())}

    def owner(self, runtime: str) -> str:
        """The uid of its ServingRuntime; "" if that is not known."""
        wish = self._wishes.get(runtime)
        return wish.objects.owner if isinstance(wish, Keep) and isinstance(wish.objects, PoolObjects) else ""

    def step(self, runtime: str) -> Step:
        """What is to be done next."""
        there = self._there(runtime)
        strange = foreign(there, runtime) if there is not None else ""
        match self._wishes.get(runtime):
            case None:
                return Done()
            # What cannot be read need not be to have no pods of it.
            case End() | Keep(objects=str(), replicas=0):
                if there is None or strange:
                    return Done()
                return Delete(name=pool_name(runtime), uid=there["metadata"]["uid"])
            case Keep(objects=objects, replicas=replicas):
                if isinstance(objects, str):
                    return Leave(reason=EventReason.INVALID_SERVING_RUNTIME, message=objects)
                if strange:
                    return Leave(reason=EventReason.DEPLOYMENT_NOT_OURS, message=strange)
                return self._keep(objects, replicas, there)

    def _keep(self, objects: PoolObjects, replicas: int, there: Raw | None) -> Step:
        applied = self._applied.get(objects.runtime)
        again = applied is not None and (applied.digest, applied.replicas) == (objects.digest, replicas)
        if there is None:
            return Apply(objects=objects, replicas=replicas, uid=None, repair=again) if replicas else Done()
        if there["metadata"].get("deletionTimestamp"):
            return Leave(reason=EventReason.DEPLOYMENT_GOING, message=_going(there))
        if settled(there, objects, replicas, applied) and self._budget_stands(objects):
            return Done()
        return Apply(objects=objects, replicas=replicas, uid=there["metadata"]["uid"], repair=again)

    def _budget_stands(self, objects: PoolObjects) -> bool:
        """Whether it is what was applied last, as the API server stored it."""
        if self._budgets is None:
            return True
        there = self._budgets.get(objects.name)
        return there is not None and there.get("spec") == self._budgeted.get(objects.runtime)

    # Events. Those of Deployments and budgets return whose pools are to be looked at.

    def want(self, runtime: str, wish: Wish) -> bool:
        """Whether that is news."""
        if self._wishes.get(runtime) == wish:
            return False
        before = self.owner(runtime)
        self._wishes[runtime] = wish
        if self.owner(runtime) != before:
            # It was another ServingRuntime's.
            self._troubles.pop(runtime, None)
        if isinstance(wish, End):
            self._applied.pop(runtime, None)
        return True

    def trouble(self, runtime: str, message: str) -> bool:
        """What keeps the pool from being as it should, or "". Whether that is news."""
        before = self._troubles.pop(runtime, "")
        if message:
            self._troubles[runtime] = message
        return before != message

    def applied(self, objects: PoolObjects, replicas: int, deployment: Raw, budget: Raw) -> None:
        """The answers to an apply. What is there is the watch's to say: it may have been deleted since."""
        self._applied[objects.runtime] = Applied.of(objects, replicas, deployment)
        self._budgeted[objects.runtime] = budget["spec"]

    def refused(self, kind: str, problem: str) -> None:
        """The API server does not show objects of that kind; "": it does."""
        self._refusals.pop(kind, None)
        if problem:
            self._refusals[kind] = f"the API server refuses to show {kind}: {problem}"

    def list_deployments(self, raws: Iterable[Raw]) -> frozenset[str]:
        """All of the namespace."""
        self._deployments = {raw["metadata"]["name"]: _last_read(self._deployments, raw) for raw in raws}
        return frozenset(self._wishes)

    def deployment(self, kind: str, raw: Raw) -> frozenset[str]:
        """One was added, modified or deleted."""
        return self._named(_follow(self._deployments, kind, raw))

    def list_budgets(self, raws: Iterable[Raw]) -> frozenset[str]:
        """All of all pools."""
        self._budgets = {raw["metadata"]["name"]: raw for raw in raws}
        return frozenset(self._wishes)

    def budget(self, kind: str, raw: Raw) -> frozenset[str]:
        """One was added, modified or deleted."""
        return self._named(_follow(self._budgets, kind, raw))

    def list_pods(self, raws: Iterable[Raw]) -> None:
        """All of all pools."""
        self._pods = {raw["metadata"]["name"]: _last_read(self._pods, raw) for raw in raws}
        self._note(self._pods)

    def pod(self, kind: str, raw: Raw) -> None:
        """One was added, modified or deleted."""
        assert self._pods is not None
        _follow(self._pods, kind, raw)
        self._note(self._pods)

    # Bookkeeping.

    def _note(self, pods: Mapping[str, Raw]) -> None:
        now = self._clock()
        uids = [raw["metadata"]["uid"] for raw in pods.values() if unmade(raw)]
        self._unmade = {uid: self._unmade.get(uid, now) for uid in uids}
        works = {runtime_of(raw) for raw in pods.values() if ready(raw)}
        ended = {raw["metadata"]["uid"]: runtime_of(raw) for raw in pods.values() if failed(raw)}
        self._replaced = frozenset(uid for uid, of in ended.items() if of in works or uid in self._replaced)

    def _failure(self, runtime: str) -> str:
        """Why its pods do not last, while none is ready."""
        ended = [raw for raw in (self._pods or {}).values() if failed(raw) and runtime_of(raw) == runtime]
        ended = [raw for raw in ended if raw["metadata"]["uid"] not in self._replaced]
        return failure_of(ended) if ended else ""

    def _named(self, name: str) -> frozenset[str]:
        return frozenset(r for r in self._wishes if pool_name(r) == name)

    def _there(self, runtime: str) -> Raw | None:
        return (self._deployments or {}).get(pool_name(runtime))

    def _ours(self) -> dict[str, Raw]:
        found = {runtime_of(raw): raw for raw in (self._deployments or {}).values()}
        return {r: raw for r, raw in found.items() if r and not foreign(raw, r) and self._there(r) is raw}

    def _replicas(self, runtime: str, there: Raw | None) -> int:
        match self._wishes.get(runtime):
            case Keep(replicas=replicas):
                return replicas
            case End():
                return 0
            case None:
                return replicas_of(there) if there is not None else 0

    def _pool(self, runtime: str, there: Raw | None) -> Pool:
        trouble = self._troubles.get(runtime, "") or (refusal_of(there) if there is not None else "")
        replicas = self._replicas(runtime, there)
        failure = self._failure(runtime) if replicas else ""
        refusals = "; ".join(sorted(self._refusals.values()))
        return Pool(replicas, "; ".join(filter(None, (trouble, failure))), aside=refusals)


def _going(deployment: Raw) -> str:
    finalizers = ", ".join(deployment["metadata"].get("finalizers") or ())
    waits = f", and waits for {finalizers}" if finalizers else ""
    return f"Deployment {deployment['metadata']['name']} is being deleted{waits}: it is made again once it is gone"


def _follow(listed: dict[str, Raw] | None, kind: str, raw: Raw) -> str:
    """Have an event in what was listed; the name of its object."""
    assert listed is not None
    name: str = raw["metadata"]["name"]
    if kind == "DELETED":
        listed.pop(name, None)
    else:
        listed[name] = _last_read(listed, raw)
    return name


def _last_read(listed: Mapping[str, Raw] | None, raw: Raw) -> Raw:
    """
    An object as it is, or as it was when it could last be read, and marked: it is there, and may hold models.

    Its identity is as it is, and whether it is being deleted.
    """
    before = (listed or {}).get(raw["metadata"]["name"])
    if UNREADABLE not in raw or before is None or before["metadata"].get("uid") != raw["metadata"].get("uid"):
        return raw
    return {**before, "metadata": before["metadata"] | raw["metadata"], UNREADABLE: raw[UNREADABLE]}


def read_alone(*, deployments: Iterable[Raw] = (), pods: Collection[Raw] = ()) -> None:
    """Raises what these objects would have a book raise that has others, too."""
    book = PoolBook(lambda: 0.0)
    for raw in pods:
        book.want(runtime_of(raw), Keep(objects="", replicas=1))
    book.list_deployments(deployments)
    book.list_pods(pods)
    _ = book.pods(), book.pools()

"""
All that one decision about one model looks at, as one frozen value.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Self

from orchestrator.domain.demand import Want
from orchestrator.domain.errors import ModelProblem
from orchestrator.domain.fleet import Copy, CopyKey, CopyRef, CopyState, Failure, PodView
from orchestrator.domain.routes import RouteView
from orchestrator.domain.target import Target
from orchestrator.domain.trained_model import TrainedModel

#: A server that dies may have had other reasons than what it was loading just then; hardly so often in a row.
MAX_CRASHES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """
    What the controller remembers of a model between two looks at it.

    All of it may be lost at any time: a new leader knows what a status says of
    failures, tries each failed load once more and loads what fits, nothing worse.
    """

    #: The object, revision and credentials that the fields below are about.
    uid: str = ""
    revision: str = ""
    credentials: str = ""
    #: Where the last load was commanded: its failure is the model's, older ones elsewhere are not.
    pod: str = ""
    #: Loads commanded, and when the last of them failed (monotonic seconds).
    loads: int = 0
    failed_at: float | None = None
    #: The last failure, kept while a retry is under way so that the status does not flap. Never a want of room.
    failure: Failure | None = None
    #: It would fit if something else went: what the last load came to.
    room: Failure | None = None
    #: How many times in a row its load took the server down.
    crashes: int = 0
    #: Bytes the revision was last seen to reserve; 0 = never seen.
    reserve: int = 0
    #: The copy that must go to make room for another model.
    evict: CopyRef | None = None
    #: It went, or goes with a pod that ends, and comes back on demand.
    evicted: bool = False
    #: What loaded last of this object, whether or not that could be written to its status.
    loaded: Target | None = None
    #: The load that was commanded last was for a request that waits.
    urgent: bool = False
    #: It is in silent pods only, and a request has come back from there: for all that can be known, nobody answers.
    unanswered: bool = False
    #: Since when its runtime has been gone and its pods leave (domain/orphan.py).
    orphaned_since: float | None = None
    #: The same of the last good revision, while that is not the one asked for. What is of all revisions says nothing there.
    last_good: Memory | None = None

    @property
    def given_up(self) -> bool:
        """Its load crashes the server. Each try costs all others in the pod: there is none until something changes."""
        return self.crashes >= MAX_CRASHES

    @property
    def failed(self) -> Failure | None:
        """Why it cannot be had. That its server died once is no such reason: of it or not."""
        failure = self.failure
        return failure if failure is not None and not (failure.crashed and self.crashes < 2) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One model, everywhere. `model` is None only when its absence is proven."""

    name: str
    model: TrainedModel | None
    target: Target | ModelProblem | None
    #: The last revision that loaded, if that is another than the target's and can be made again.
    last_good: Target | None = None
    #: Every pod of the runtimes of target and last good revision, and every pod that holds a copy; all there are while
    #: something is there, or routed to, for which nobody here has published a route.
    pods: tuple[PodView, ...] = ()
    copies: tuple[Copy, ...] = ()
    #: What keeps the pools of these runtimes from having their pods, by runtime.
    pools: tuple[tuple[str, str], ...] = ()
    route: RouteView | None = None
    #: Some Envoy has a route for this name that nobody here published.
    stranger: bool = False
    want: Want | None = None
    #: A loaded copy vanished with its server, and nothing serves since.
    lost: bool = False
    memory: Memory = field(default_factory=Memory)

    def pod(self, uid: str) -> PodView | None:
        """The pod with that uid."""
        return next((p for p in self.pods if p.pod.uid == uid), None)

    @property
    def serves_target(self) -> bool:
        """Whether what answers is what is asked for."""
        return any(c.key == self.target_key for c in self.serving)

    @property
    def before(self) -> Self | None:
        """The same as if the last good revision were asked for; None while there is none but the target's."""
        if self.last_good is None or self.model is None:
            return None
        memory = self.memory.last_good or Memory(uid=self.model.uid, revision=self.last_good.revision)
        memory = replace(memory, evict=self.memory.evict, unanswered=self.memory.unanswered)
        return replace(self, target=self.last_good, last_good=None, memory=memory)

    @property
    def falls_back(self) -> bool:
        """
        Whether the last good revision is to be brought back: nothing serves, and the target cannot, or is not sure to.

        Not while the target is on its way: of two loads of one name in a pod the later one would win.
        """
        if self.last_good is None or self.serving or any(c.state in _UNDER_WAY for c in self.target_copies):
            return False
        return self.lost or self.memory.failed is not None or self.homeless

    @property
    def homeless(self) -> bool:
        """Whether no pod can take the target now. One that is silent might: knowing less brings nothing else back."""
        return not any(p.usable or (p.coming and p.silent) for p in self.pool())

    @property
    def goal(self) -> Self:
        """What a request waits for: the target, or the last good revision if that is what can be had."""
        before = self.before if self.falls_back else None
        return before if before is not None and before.memory.failed is None else self

    def pool(self) -> tuple[PodView, ...]:
        """The pods of the target's runtime."""
        if not isinstance(self.target, Target):
            return ()
        return tuple(p for p in self.pods if p.pod.runtime == self.target.runtime.name)

    @property
    def target_key(self) -> CopyKey | None:
        """The copy that should serve."""
        if self.model is None or not isinstance(self.target, Target):
            return None
        return CopyKey(self.name, self.model.uid, self.target.revision)

    @property
    def target_copies(self) -> tuple[Copy, ...]:
        """Its copies, in whatever state."""
        return tuple(c for c in self.copies if c.key == self.target_key)

    @property
    def urgent(self) -> bool:
        """Whether a request waits for it to be loaded."""
        return self.want is not None and self.want.load

    def stays(self, copy: Copy) -> bool:
        """Whether its pod is not on its way out."""
        pod = self.pod(copy.pod)
        return pod is None or not pod.leaving

    def heard(self, copy: Copy) -> bool:
        """Whether its pod is known to be there."""
        pod = self.pod(copy.pod)
        return pod is not None and pod.known

    def counts(self, copy: Copy) -> bool:
        """Whether it makes another needless: its pod stays, and requests have not come back from there unheard."""
        return self.stays(copy) and (self.heard(copy) or not self.memory.unanswered)

    @property
    def serving(self) -> tuple[Copy, ...]:
        """
        The copies that are to answer: of those that may, the ones in pods that stay and are heard.

        While there is none, or none that is known to be there, those in pods on their way out answer as well; but for
        pods that end now, which do not, whether there is another or not. Nor does what is in a pod without an address:
        it is there for all that is known, and neither routed to nor taken away nor made up for.
        """
        here = tuple(c for c in self.loaded if (pod := self.pod(c.pod)) is None or (pod.reachable and not pod.ending))
        return tuple(c for c in here if self.stays(c) and self.heard(c)) or here

    @property
    def leaves(self) -> bool:
        """Whether all that answers is in pods on their way out."""
        return bool(self.serving) and not any(self.stays(c) for c in self.serving)

    @property
    def loaded(self) -> tuple[Copy, ...]:
        """
        The copies that may answer: the answering ones, unless they have to make room for another model.

        What they came in place of is on its way out, and does not answer again because they leave too.
        """
        return tuple(c for c in self.answering if c.ref != self.memory.evict)

    @property
    def answering(self) -> tuple[Copy, ...]:
        """
        The target's copies if one is loaded, else the last good revision's, else any of this very object: those that
        requests come to, as far as they do. A copy of another uid is another model's.

        While the spec has no target, the last that it had counts as one: it may have loaded a moment ago. But what is
        in a pod that ends cannot be had again then, and counts only if there is nothing else.
        """
        if self.model is None:
            return ()
        loaded = [c for c in self.copies if c.state is CopyState.LOADED and c.key.uid == self.model.uid]
        if isinstance(self.target, Target):
            target = self.target.revision
        else:
            target = self.memory.revision
            loaded = [c for c in loaded if (pod := self.pod(c.pod)) is None or not pod.closing] or loaded
        for revision in (target, self.model.status.active_revision):
            if chosen := tuple(c for c in loaded if c.key.revision == revision):
                return chosen
        return tuple(loaded)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where the serving copies are reached: `host:port`, sorted."""
        pods = (self.pod(c.pod) for c in self.serving)
        return tuple(sorted({p.pod.endpoint for p in pods if p is not None}))

    @property
    def loaded_before(self) -> bool:
        """Whether the target loaded once: then it is Standby when no copy is left."""
        if self.model is None or not isinstance(self.target, Target):
            return False
        return self.model.status.active_revision == self.target.revision or self.remembers_loading

    @property
    def remembers_loading(self) -> bool:
        """Whether the target was seen loaded from here, whatever could be written down of it."""
        key, loaded = self.target_key, self.memory.loaded
        return key is not None and loaded is not None and (key.uid, key.revision) == (self.memory.uid, loaded.revision)


#: Or it might be.
_UNDER_WAY: Final = frozenset({CopyState.DOWNLOADING, CopyState.LOADING, CopyState.UNLOADING, CopyState.UNKNOWN})

"""
All the facts that one decision about one model is made from, as one frozen value.
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

#: A server may die for other reasons than the model that it was loading; hardly so often in a row.
MAX_CRASHES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """
    What the controller remembers of a model between two looks at it.

    All of it may be lost at any time. A new leader knows only the failures that
    the status tells: it tries each failed load once more and loads what fits.
    """

    #: The object's uid, the revision and the credentials' version that the fields below are about.
    uid: str = ""
    revision: str = ""
    credentials: str = ""
    #: The pod of the last load: a failure there is the model's, older failures in other pods are not.
    pod: str = ""
    #: Loads commanded so far, and when the last one failed (monotonic seconds).
    loads: int = 0
    failed_at: float | None = None
    #: The last failure, kept while a retry is under way so that the status does not flap. Never a want of room.
    failure: Failure | None = None
    #: The last load found no room: the copy would fit if another left.
    room: Failure | None = None
    #: How many times in a row its load took the server down.
    crashes: int = 0
    #: Bytes the revision was last seen to reserve; 0 = never seen.
    reserve: int = 0
    #: The copy that must go to make room for another model.
    evict: CopyRef | None = None
    #: The revision has left memory, or leaves with a pod that ends, and is loaded again on demand.
    evicted: bool = False
    #: The revision of this object that loaded last, whether or not that could be written to the status.
    loaded: Target | None = None
    #: The last load was commanded for a request that waits.
    urgent: bool = False
    #: The model is loaded in silent pods only, and a request has come back from there: as far as known, none answers.
    unanswered: bool = False
    #: What serves could not be loaded again: the spec cannot be served, and the last good revision is out of reach.
    irreplaceable: bool = False
    #: Since when the model's runtime has been gone and its pods leave (domain/orphan.py).
    orphaned_since: float | None = None
    #: The Memory of the last good revision, while another one is asked for. Fields that concern the whole model (evict,
    #: unanswered, irreplaceable, orphaned_since) are unset in this nested Memory.
    last_good: Memory | None = None

    @property
    def given_up(self) -> bool:
        """Its load crashes the server, and with it all other models there: not tried again until something changes."""
        return self.crashes >= MAX_CRASHES

    @property
    def need(self) -> int:
        """Bytes to reserve for the next load as far as is known: as last reserved, or as an adapter without room said."""
        return max(self.reserve, self.room.needed if self.room is not None else 0)

    @property
    def failed(self) -> Failure | None:
        """Why the revision cannot be loaded. One death of the server is no reason: the model may not have caused it."""
        failure = self.failure
        return failure if failure is not None and not (failure.crashed and self.crashes < 2) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One model, in all pods and Envoys. `model` is None only when its absence is proven."""

    name: str
    model: TrainedModel | None
    target: Target | ModelProblem | None
    #: The last revision that loaded, if it is not the target's and can be loaded again.
    last_good: Target | None = None
    #: The pods of the runtimes of target and last good revision, and every pod that holds a copy of the model. All pods
    #: there are, while some copy or some Envoy's route exists for which this leader has published no route.
    pods: tuple[PodView, ...] = ()
    copies: tuple[Copy, ...] = ()
    #: (runtime, the platform's messages about its pool), for these runtimes.
    pools: tuple[tuple[str, str], ...] = ()
    route: RouteView | None = None
    #: Some Envoy has a route for this name that this leader did not publish.
    stranger: bool = False
    want: Want | None = None
    #: A loaded copy vanished with its server, and nothing serves since.
    lost: bool = False
    memory: Memory = field(default_factory=Memory)
    #: Pods in which another revision is on its way: of two loads of one name in a pod the later one would win.
    barred: frozenset[str] = frozenset()

    def pod(self, uid: str) -> PodView | None:
        """The pod with that uid."""
        return next((p for p in self.pods if p.pod.uid == uid), None)

    @property
    def serves_target(self) -> bool:
        """Whether the revision that serves is the one that the spec asks for."""
        return any(c.key == self.target_key for c in self.serving)

    @property
    def fallback(self) -> Self | None:
        """The same observation with the last good revision as its target; None if there is no such revision."""
        if self.last_good is None or self.model is None:
            return None
        memory = self.memory.last_good or Memory(uid=self.model.uid, revision=self.last_good.revision)
        memory = replace(memory, evict=self.memory.evict, unanswered=self.memory.unanswered)
        comes = (c for c in self.target_copies if c.state in _UNDER_WAY and not self.given_up(c))
        return replace(
            self, target=self.last_good, last_good=None, memory=memory, barred=frozenset(c.pod for c in comes)
        )

    @property
    def falls_back(self) -> bool:
        """
        Whether to load the last good revision: nothing serves, and the target cannot be loaded, or may not be.

        Not while the target is on its way in each pod that the last good revision could be loaded in.
        """
        fallback = self.fallback
        if fallback is None or self.serving or fallback.crowded_out:
            return False
        return self.lost or self.memory.failed is not None or self.homeless

    @property
    def crowded_out(self) -> bool:
        """Whether there are pods of the target's runtime, and all of them are barred."""
        pool = self.pool()
        return bool(pool) and all(p.pod.uid in self.barred for p in pool)

    @property
    def homeless(self) -> bool:
        """Whether no pod can take the target now. A silent pod might: silence alone brings no older revision back."""
        return not any(p.usable or (p.coming and p.silent) for p in self.pool())

    @property
    def comes_back(self) -> bool:
        """Whether the model went with its server and is to be loaded again: not if it had been evicted, too."""
        return self.lost and self.model is not None and not self.goal.memory.evicted

    @property
    def goal(self) -> Self:
        """The observation that a request waits on: of the last good revision if that is to be loaded, else this one."""
        fallback = self.fallback if self.falls_back else None
        return fallback if fallback is not None and fallback.memory.failed is None else self

    @property
    def nobody_answers(self) -> bool:
        """Whether the target's pods are all silent, and not waited for any more: as if there were none."""
        pool = self.pool()
        return bool(pool) and all(p.silent and p.given_up for p in pool)

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
        """The target's copies, in whatever state."""
        return tuple(c for c in self.copies if c.key == self.target_key)

    @property
    def urgent(self) -> bool:
        """Whether a request waits for the model to be loaded."""
        return self.want is not None and self.want.load

    def stays(self, copy: Copy) -> bool:
        """Whether the copy's pod is not on its way out."""
        pod = self.pod(copy.pod)
        return pod is None or not pod.leaving

    def known(self, copy: Copy) -> bool:
        """Whether the copy's pod is known: its adapter answers."""
        pod = self.pod(copy.pod)
        return pod is not None and pod.known

    def counts(self, copy: Copy) -> bool:
        """
        Whether no other copy is needed: this one's pod stays, and answers, or at least no request has come back.

        What was on its way there counts no more once its pod is given up.
        """
        waited_for = copy.state is CopyState.LOADED or not self.given_up(copy)
        return self.stays(copy) and (self.known(copy) or not self.memory.unanswered) and waited_for

    def given_up(self, copy: Copy) -> bool:
        """
        Whether what was to become of the copy when its pod fell silent is not waited for any more.

        One that was on its way, in or out, counts as none then. One that had loaded answers, for all that is known.
        """
        pod = self.pod(copy.pod)
        return pod is not None and pod.given_up

    @property
    def serving(self) -> tuple[Copy, ...]:
        """
        The copies that requests are to be routed to: of those `kept`, those in known pods that stay.

        If there is none, those in silent pods and in pods on their way out serve as well. Copies in pods that end now
        never do. Nor do copies in a pod without an address: as far as known they are still loaded, so they are neither
        routed to, nor unloaded, nor loaded elsewhere.
        """
        here = tuple(c for c in self.kept if (pod := self.pod(c.pod)) is None or (pod.reachable and not pod.ending))
        return tuple(c for c in here if self.stays(c) and self.known(c)) or here

    @property
    def leaves(self) -> bool:
        """Whether all serving copies are in pods on their way out."""
        return bool(self.serving) and not any(self.stays(c) for c in self.serving)

    @property
    def kept(self) -> tuple[Copy, ...]:
        """
        Of `loaded`, all but the copy that has to make room for another model.

        If that leaves none, no older revision serves in its place: what was replaced is on its way out as well.
        """
        return tuple(c for c in self.loaded if c.ref != self.memory.evict)

    @property
    def loaded(self) -> tuple[Copy, ...]:
        """
        The loaded copies of one revision: the target's, else the last good one's, else all of this object.

        A copy of another uid is another model's. While the spec cannot be resolved to a target, the target that it had
        last counts: that may have loaded a moment ago. It could not be loaded again then, so copies in pods that end
        count only if there is no other.
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
        """Whether this controller saw the target loaded, whether or not the status could be written."""
        key, loaded = self.target_key, self.memory.loaded
        return key is not None and loaded is not None and (key.uid, key.revision) == (self.memory.uid, loaded.revision)


#: States of a copy that is changing, or may be.
_UNDER_WAY: Final = frozenset({CopyState.DOWNLOADING, CopyState.LOADING, CopyState.UNLOADING, CopyState.UNKNOWN})

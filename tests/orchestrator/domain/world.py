"""
A tiny pure world for one model: what the plan's actions make of pods, copies and the route.

Adapters and Envoys in it do at once what they are told, but for pods that are
silent: those do nothing and are not asked. It is where "apply the plan and plan
again" happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orchestrator.domain import memory as memories
from orchestrator.domain.action import Action, LoadCopy, MakeRoom, Plan, PublishRoute, RemoveRoute, UnloadCopy
from orchestrator.domain.conditions import status_of
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyKey, CopyState, Failure, PodView
from orchestrator.domain.observation import Observation
from orchestrator.domain.orphan import closed
from orchestrator.domain.plan import plan
from orchestrator.domain.pool import timed
from orchestrator.domain.routes import RouteView
from tests.orchestrator.builders import NOW as TIMESTAMP
from tests.orchestrator.builders import make_key

#: What every copy takes of a pod's bytes.
SIZE = 10
#: What is asked for, while the spec can be resolved.
NEW = make_key("r1")


@dataclass
class World:
    """Begins as an observation shows it; `broken`: its new revision cannot be loaded, whatever the spec says by now."""

    seen: Observation
    now: float
    broken: bool = False
    #: Set when an action changes nothing: room that is asked for and that nobody can make.
    blocked: bool = False
    #: Bytes of other models in each pod: what MakeRoom frees.
    others: dict[str, int] = field(default_factory=dict)
    done: list[Action] = field(default_factory=list)

    def settle(self, rounds: int = 60) -> Plan:
        """Plan and act until there is nothing to do; the last plan. Time passes when a plan asks for it."""
        idle = 0
        for _ in range(rounds):
            before, decided = self.seen, self.look()
            for action in decided.actions:
                self.act(action)
            self.progress()
            self.blocked = self.seen == before and bool(decided.actions)
            if self.blocked:
                return decided
            idle = 0 if decided.actions or self.seen != before else idle + 1
            memory = self.seen.memory
            loads = max(memory.loads, memory.last_good.loads if memory.last_good is not None else 0)
            if idle and (decided.requeue_after is None or idle > 5 or loads > 6):
                # A load that fails for ever is tried for ever, ever later; a silent pod is waited for.
                return decided
            if idle and decided.requeue_after is not None:
                self.now += decided.requeue_after + 0.001
        raise AssertionError(f"does not settle: {self.done[-6:]}")

    def look(self) -> Plan:
        """Remember, plan, and write the status, as a reconcile does."""
        model = self.seen.model
        uid = model.uid if model is not None else ""
        memory = memories.remember(
            self.seen.memory,
            uid=uid,
            target=self.seen.target,
            last_good=self.seen.last_good,
            copies=self.seen.copies,
            now=self.now,
            ending={p.pod.uid for p in self.seen.pods if p.ending},
            leaving={p.pod.uid for p in self.seen.pods if p.leaving},
            silent={p.pod.uid for p in self.seen.pods if not p.known},
            stale=self.seen.want is not None and self.seen.want.stale,
        )
        pods = tuple(closed(timed(p, self.now), memory.orphaned_since, self.now) for p in self.seen.pods)
        self.seen = replace(self.seen, memory=memory, pods=pods)
        decided = plan(self.seen, self.now)
        if decided.stands_by:
            self.seen = replace(self.seen, memory=memories.standing_by(memory))
        return decided

    def tell(self) -> None:
        """Write the status."""
        model, status = self.seen.model, status_of(self.seen, TIMESTAMP)
        if model is not None and status is not None:
            last_good = self.seen.last_good
            if last_good is not None and last_good.revision != status.active_revision:
                last_good = None
            self.seen = replace(self.seen, model=replace(model, status=status), last_good=last_good)

    def act(self, action: Action) -> None:
        """What the world makes of one action at once."""
        self.done.append(action)
        match action:
            case PublishRoute(route):
                view = RouteView(route=route, acked=True, since=self.now, acked_at=self.now)
                self.seen = replace(self.seen, route=view, stranger=False)
            case RemoveRoute():
                self.seen = replace(self.seen, route=None, stranger=False)
            case UnloadCopy(pod, key):
                assert self.pod(pod).known
                self.put(pod, key, CopyState.UNLOADING)
            case MakeRoom(pod, need):
                assert self.pod(pod).usable
                missing = max(0, need - self.pod(pod).free)
                self.others[pod] = max(0, self.others.get(pod, 0) - missing)
            case LoadCopy(pod, key, verify=True):
                assert self.seen.want is not None
                self.seen = replace(self.seen, want=replace(self.seen.want, stale=False))
            case LoadCopy(pod, key, target, hurry=True):
                assert self.pod(pod).known
                self.seen = replace(self.seen, memory=memories.hurried(self.seen.memory, target))
            case LoadCopy(pod, key, target, urgent=urgent):
                assert self.pod(pod).usable
                assert key in self.loadable()
                self.put(pod, key, CopyState.DOWNLOADING)
                self.seen = replace(self.seen, memory=memories.commanded(self.seen.memory, target, pod, urgent=urgent))
        self.reserve()

    def progress(self) -> None:
        """Envoys accept what was published; what is under way in pods that answer ends; the status is written."""
        if self.seen.route is not None and not self.seen.route.acked:
            self.seen = replace(self.seen, route=replace(self.seen.route, acked=True, acked_at=self.now))
        for copy in self.seen.copies:
            if not self.pod(copy.pod).known:
                continue
            if copy.state is CopyState.UNLOADING:
                self.drop(copy)
            elif copy.state in (CopyState.DOWNLOADING, CopyState.LOADING, CopyState.UNKNOWN):
                free = self.pod(copy.pod).free + copy.reserved
                if self.broken and copy.key == NEW:
                    self.put(copy.pod, copy.key, CopyState.FAILED, Failure(reason="ModelLoadFailed", message="broken"))
                elif self.pod(copy.pod).total < SIZE:
                    self.put(copy.pod, copy.key, CopyState.FAILED, Failure(reason="ModelTooLarge", message="large"))
                elif free < SIZE:
                    failure = Failure(reason=NO_ROOM, message="full", needed=SIZE, available=free)
                    self.put(copy.pod, copy.key, CopyState.FAILED, failure)
                else:
                    self.put(copy.pod, copy.key, CopyState.LOADED)
                    self.replaced(copy)
        self.reserve()
        self.tell()

    def replaced(self, copy: Copy) -> None:
        """A server knows names: a copy that has loaded takes the place of another of its name there."""
        for other in self.seen.copies:
            if other.pod == copy.pod and other.key != copy.key and other.state is CopyState.LOADED:
                self.drop(other)

    def loadable(self) -> frozenset[CopyKey | None]:
        """What a load may be of: the target, or the last good revision."""
        fallback = self.seen.fallback
        return frozenset({self.seen.target_key, fallback.target_key if fallback is not None else None})

    def pod(self, uid: str) -> PodView:
        """The pod, which is there."""
        view = self.seen.pod(uid)
        assert view is not None
        return view

    def put(self, pod: str, key: CopyKey, state: CopyState, failure: Failure | None = None) -> None:
        """The pod's copy is in this state now."""
        reserved = 0 if state in (CopyState.FAILED, CopyState.DOWNLOADING) else SIZE
        copy = Copy(key=key, pod=pod, state=state, reserved=reserved, failure=failure)
        rest = [c for c in self.seen.copies if (c.pod, c.key) != (pod, key)]
        self.seen = replace(self.seen, copies=tuple(sorted([*rest, copy], key=lambda c: (c.pod, c.key))))

    def drop(self, copy: Copy) -> None:
        """The pod has it no more."""
        self.seen = replace(self.seen, copies=tuple(c for c in self.seen.copies if c != copy))

    def reserve(self) -> None:
        """Each pod that answers reports the sum of what it holds."""
        held = dict(self.others)
        for copy in self.seen.copies:
            held[copy.pod] = held.get(copy.pod, 0) + copy.reserved
        pods = (replace(p, reserved=held.get(p.pod.uid, 0)) if p.known else p for p in self.seen.pods)
        self.seen = replace(self.seen, pods=tuple(pods))

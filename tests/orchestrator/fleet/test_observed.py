"""What is known of the fleet, against a naive model: a plain mapping of pods to copies."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.domain.fleet import Copy, CopyKey, CopyState, Pod, Pool, ServerState
from orchestrator.fleet.observed import Changes, ObservedFleet, Report
from tests.orchestrator.builders import MIB, make_copy, make_key, make_pod
from tests.properties import examples

KEYS = (make_key("r1"), make_key("r0"), make_key("r1", uid="another"), make_key("r1", model="other"))
RUNTIMES = {"p1": "mlserver-0.x", "p2": "mlserver-0.x", "p3": "triton-2.x"}
UIDS = tuple(RUNTIMES)

uids = st.sampled_from(UIDS)
keys = st.sampled_from(KEYS)
copies_of = st.dictionaries(keys, st.sampled_from(CopyState), max_size=3)
NOTHING = Changes()


def make_report(uid: str, copies: dict[CopyKey, CopyState], *, boot: str = "b1", full: bool = False) -> Report:
    made = tuple(make_copy(state, pod=uid, key=key) for key, state in copies.items())
    return Report(boot=boot, full=full, server=ServerState.READY, total=100 * MIB, copies=made)


class FleetMachine(RuleBasedStateMachine):
    """Beside the fleet: listed pods with boot, whether known, and copies; and which models lost a loaded copy."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = ObservedFleet()
        self.pods: dict[str, dict[CopyKey, Copy]] = {}
        self.known: set[str] = set()
        self.boots: dict[str, str] = {}
        self.lost: set[str] = set()

    def vanish(self, uid: str, key: CopyKey) -> None:
        """A copy went with its server."""
        self.lose(uid, self.pods[uid].pop(key))

    def lose(self, uid: str, copy: Copy) -> None:
        """It does not serve any more: a loss, unless another pod has it that answers."""
        others = [
            held[copy.key] for other, held in self.pods.items() if other in self.known - {uid} and copy.key in held
        ]
        if copy.state is CopyState.LOADED and not any(c.state is CopyState.LOADED for c in others):
            self.lost.add(copy.key.model)

    def check(self, changes: Changes, before: dict[str, dict[CopyKey, Copy]]) -> None:
        """Whoever's copies are others than before is named."""
        for model in {k.model for k in KEYS}:
            was = {(u, c) for u, held in before.items() for k, c in held.items() if k.model == model}
            now = {(u, c) for u, held in self.pods.items() for k, c in held.items() if k.model == model}
            assert was == now or model in changes.models

    def snapshot(self) -> dict[str, dict[CopyKey, Copy]]:
        return {uid: dict(copies) for uid, copies in self.pods.items()}

    @rule(listed=st.sets(uids), renamed=st.sets(uids))
    def list_pods(self, listed: set[str], renamed: set[str]) -> None:
        """A complete list: who is missing is gone, with all it held. What a known pod says of its runtime is no news."""
        before = self.snapshot()
        said = {uid: "another" if uid in renamed and uid in before else RUNTIMES[uid] for uid in sorted(listed)}
        for uid in self.pods.keys() - listed:
            for key in list(self.pods[uid]):
                self.vanish(uid, key)
            del self.pods[uid]
            self.known.discard(uid)
            self.boots.pop(uid, None)
        for uid in listed - self.pods.keys():
            self.pods[uid] = {}
            self.boots[uid] = ""
        changes = self.fleet.list_pods(make_pod(uid, runtime) for uid, runtime in said.items())
        self.check(changes, before)
        moved = before.keys() ^ self.pods.keys()
        assert changes.runtimes == {RUNTIMES[uid] for uid in moved}

    @rule(
        uid=uids,
        copies=copies_of,
        gone=st.sets(keys, max_size=2),
        full=st.booleans(),
        boot=st.sampled_from(["b1", "b1", "b2"]),
        server=st.sampled_from([ServerState.READY, ServerState.READY, ServerState.LOST]),
    )
    def report(
        self,
        uid: str,
        copies: dict[CopyKey, CopyState],
        gone: set[CopyKey],
        full: bool,
        boot: str,
        server: ServerState,
    ) -> None:
        """
        A lost server or another boot ends what is not said anew, a full report replaces, `gone` is no loss.

        What is said to be what nobody here knows is what it was.
        """
        if server is ServerState.LOST:
            copies = {}
        gone -= copies.keys()
        report = replace(make_report(uid, copies, boot=boot, full=full), server=server, gone=tuple(gone))
        before = self.snapshot()
        changes = self.fleet.report(uid, report)
        if uid not in self.pods:
            assert changes == NOTHING
            return
        held = self.pods[uid]
        for key in list(held):
            over = boot != self.boots[uid] or server is ServerState.LOST
            if over or (full and key not in copies):
                self.vanish(uid, key)
        for key in gone:
            held.pop(key, None)
        for copy in report.copies:
            old = held.get(copy.key)
            if old is not None and copy.state is CopyState.UNKNOWN:
                continue
            if old is not None and copy.state not in (CopyState.LOADED, CopyState.UNLOADING):
                self.lose(uid, old)
            held[copy.key] = copy
        self.boots[uid] = boot
        if full:
            if uid not in self.known:
                assert changes.models >= {k.model for k in held}
            self.known.add(uid)
        self.check(changes, before)

    @rule(uid=uids)
    def disconnected(self, uid: str) -> None:
        """Silence changes no fact; those it is about are looked at."""
        changes = self.fleet.disconnected(uid)
        if uid in self.known:
            assert changes == Changes(frozenset(k.model for k in self.pods[uid]), frozenset({RUNTIMES[uid]}))
        else:
            assert changes == NOTHING
        self.known.discard(uid)

    @rule(uid=uids, key=keys, accepted=st.booleans())
    def load(self, uid: str, key: CopyKey, accepted: bool) -> None:
        """A copy counts as under way from the command on; refused, it is what it was."""
        undo = self.fleet.sending_load(uid, key)
        if not accepted:
            undo()
        elif uid in self.pods:
            old = self.pods[uid].get(key)
            if old is None or old.state in (CopyState.FAILED, CopyState.UNLOADING):
                self.pods[uid][key] = Copy(key=key, pod=uid, state=CopyState.DOWNLOADING)

    @rule(uid=uids, key=keys, accepted=st.booleans())
    def unload(self, uid: str, key: CopyKey, accepted: bool) -> None:
        """No loss: it was asked for."""
        undo = self.fleet.sending_unload(uid, key)
        if not accepted:
            undo()
        elif key in self.pods.get(uid, {}):
            self.pods[uid][key] = replace(self.pods[uid][key], state=CopyState.UNLOADING, failure=None)

    @rule(model=st.sampled_from(sorted({k.model for k in KEYS})))
    def found(self, model: str) -> None:
        self.fleet.found(model)
        self.lost.discard(model)

    @invariant()
    def every_index_tells_the_same(self) -> None:
        """By model, by pod, by runtime: one truth."""
        everything = [(uid, copy) for uid in sorted(self.pods) for _, copy in sorted(self.pods[uid].items())]
        for model in {k.model for k in KEYS}:
            assert self.fleet.copies(model) == tuple(c for _, c in everything if c.key.model == model)
            assert self.fleet.lost(model) == (model in self.lost)
        assert self.fleet.models() == {copy.key.model for _, copy in everything}
        assert [v.pod.uid for v in self.fleet.pods()] == sorted(self.pods)
        assert self.fleet.runtimes() == {RUNTIMES[uid] for uid in self.pods}
        for runtime in set(RUNTIMES.values()):
            assert [v.pod.uid for v in self.fleet.pods(runtime)] == sorted(
                uid for uid in self.pods if RUNTIMES[uid] == runtime
            )
        for uid in UIDS:
            assert self.fleet.copies_in(uid) == self.pods.get(uid, {})
            view = self.fleet.pod(uid)
            assert (view is not None) == (uid in self.pods)
            if view is not None:
                assert (view.known, view.boot) == (uid in self.known, self.boots[uid])


TestFleetMachine = FleetMachine.TestCase
TestFleetMachine.settings = examples(80, stateful_step_count=20, deadline=None)


def make_fleet(*uids: str) -> ObservedFleet:
    fleet = ObservedFleet()
    fleet.list_pods(make_pod(uid, RUNTIMES[uid]) for uid in uids)
    return fleet


LOADED = {KEYS[0]: CopyState.LOADED}


def test_a_report_that_overtakes_the_answer_to_a_load_counts() -> None:
    """A load that fails at once is reported before its command is answered: it must not be under way for ever."""
    fleet = make_fleet("p1")
    failed = make_report("p1", {KEYS[0]: CopyState.FAILED}, full=True)
    for _ in range(2):
        fleet.sending_load("p1", KEYS[0])
        assert [c.state for c in fleet.copies("digits")] == [CopyState.DOWNLOADING]
        # Equal to what was reported before the command, the second time.
        assert fleet.report("p1", failed).models == {"digits"}
        assert [c.state for c in fleet.copies("digits")] == [CopyState.FAILED]


def test_a_refusal_that_comes_late_undoes_no_report() -> None:
    """The command timed out, the adapter took it all the same and has said so."""
    fleet = make_fleet("p1")
    fleet.report("p1", make_report("p1", LOADED, full=True))
    undo = fleet.sending_unload("p1", KEYS[0])
    fleet.report("p1", replace(make_report("p1", {}), gone=(KEYS[0],)))
    undo()
    assert fleet.copies("digits") == ()
    undo = fleet.sending_load("p1", KEYS[0])
    fleet.list_pods(())
    undo()
    fleet.list_pods([make_pod("p1")])
    assert fleet.copies("digits") == ()


def test_only_what_matters_to_others_wakes_a_runtime() -> None:
    """A copy's progress concerns its model; bytes, readiness and the platform's words concern who waits."""
    fleet = make_fleet("p1", "p3")
    assert fleet.report("p1", make_report("p1", {}, full=True)).runtimes == {"mlserver-0.x"}
    assert fleet.report("p1", make_report("p1", LOADED)) == Changes(frozenset({"digits"}), frozenset())
    assert fleet.report("p1", make_report("p1", LOADED)) == NOTHING
    fuller = replace(make_report("p1", LOADED), reserved=MIB)
    assert fleet.report("p1", fuller) == Changes(frozenset(), frozenset({"mlserver-0.x"}))
    crashing: list[Pod] = [make_pod("p1", message="exit code 1"), make_pod("p3", "triton-2.x")]
    assert fleet.list_pods(crashing) == Changes(frozenset({"digits"}), frozenset({"mlserver-0.x"}))
    assert fleet.list_pods(crashing) == NOTHING


def test_a_pod_is_known_only_after_a_full_report() -> None:
    """A change without what it changes is no picture."""
    fleet = make_fleet("p1")
    fleet.report("p1", make_report("p1", LOADED))
    view = fleet.pod("p1")
    assert view is not None
    assert not view.known
    fleet.report("p1", make_report("p1", LOADED, full=True))
    fleet.disconnected("p1")
    assert fleet.copies("digits") != ()
    fleet.report("p1", make_report("p1", {}, full=True))
    assert fleet.copies("digits") == ()
    assert fleet.lost("digits")


def test_what_was_there_before_us_is_unheard_until_its_full_report() -> None:
    """A pod that came later holds nothing that we do not know of; silence makes nothing unheard again."""
    fleet = make_fleet("p1")
    fleet.list_pods([make_pod("p1"), make_pod("p2")])
    assert [view.unheard for view in fleet.pods()] == [True, False]
    fleet.report("p1", make_report("p1", {}))
    assert [view.unheard for view in fleet.pods()] == [True, False]
    fleet.report("p1", make_report("p1", {}, full=True))
    fleet.disconnected("p1")
    assert [view.unheard for view in fleet.pods()] == [False, False]
    # That it is heard again concerns its pool, whatever else it says.
    assert fleet.report("p1", make_report("p1", {}, full=True)).runtimes == {"mlserver-0.x"}


def test_pods_are_listed_once_the_platform_has_spoken() -> None:
    """An empty list is a list."""
    fleet = ObservedFleet()
    assert not fleet.listed
    fleet.list_pods(())
    assert fleet.listed


def test_whatever_is_in_a_pod_on_its_way_out_is_looked_at() -> None:
    """When the platform says so, when its adapter does, and when it is a matter of seconds: each once."""
    fleet = ObservedFleet()
    fleet.list_pods([make_pod()])
    report = make_report("p1", {KEYS[0]: CopyState.LOADED, KEYS[3]: CopyState.LOADED}, full=True)
    fleet.report("p1", report)
    everything = frozenset({"digits", "other"})
    steps = (replace(report, draining=True), replace(report, draining=True, closing=True))
    for step in steps:
        assert fleet.report("p1", replace(step, full=False, copies=())).models == everything
        assert fleet.report("p1", replace(step, full=False, copies=())) == NOTHING
    assert fleet.list_pods([make_pod(terminating=True)]).models == everything


def test_what_was_to_leave_with_its_pod_is_not_lost() -> None:
    """It was withdrawn in time. One that ends before its time takes along what no other pod has."""
    fleet = ObservedFleet()
    pods = [make_pod("p1"), make_pod("p2")]
    fleet.list_pods(pods)
    both = {KEYS[0]: CopyState.LOADED, KEYS[3]: CopyState.LOADED}
    fleet.report("p1", replace(make_report("p1", both, full=True), draining=True))
    fleet.report("p2", make_report("p2", {KEYS[0]: CopyState.LOADED}, full=True))
    fleet.list_pods(pods[1:])
    assert not fleet.lost("digits")
    assert fleet.lost("other")
    fleet.report("p2", replace(make_report("p2", {}), draining=True, closing=True))
    fleet.list_pods([])
    assert not fleet.lost("digits")


def test_a_state_of_a_newer_adapter_takes_nothing_away() -> None:
    """What served is said to be something that nobody here knows: it serves for all that is known, until it is said to be gone."""
    fleet = ObservedFleet()
    fleet.list_pods([make_pod("p1")])
    fleet.report("p1", make_report("p1", {KEYS[0]: CopyState.LOADED}, full=True))
    for full in (False, True):
        assert fleet.report("p1", make_report("p1", {KEYS[0]: CopyState.UNKNOWN}, full=full)) == NOTHING
    assert [copy.state for copy in fleet.copies("digits")] == [CopyState.LOADED]
    assert not fleet.lost("digits")
    fleet.report("p1", make_report("p1", {KEYS[1]: CopyState.UNKNOWN}))
    assert [copy.state for copy in fleet.copies("digits")] == [CopyState.UNKNOWN, CopyState.LOADED]
    fleet.report("p1", make_report("p1", {}, full=True))
    assert fleet.lost("digits")


def test_news_of_a_pool_are_news_of_its_runtime() -> None:
    """What it is to have, why it has it not, and that it is gone; saying the same again is no news."""
    fleet = ObservedFleet()
    for pool in (Pool(1), Pool(2), Pool(2, "no quota")):
        assert fleet.list_pods((), {"x": pool}) == Changes(runtimes=frozenset({"x"}))
        assert fleet.list_pods((), {"x": pool}) == Changes()
        assert fleet.pool("x") == pool
        assert fleet.runtimes() == {"x"}
    assert fleet.list_pods(()) == Changes(runtimes=frozenset({"x"}))
    assert (fleet.pool("x"), fleet.runtimes()) == (None, frozenset())


def test_a_pod_without_an_address_is_not_one_that_may_hold_something() -> None:
    """Though it was there before this controller: nobody can have loaded anything in it."""
    fleet = ObservedFleet()
    fleet.list_pods([make_pod("p1", adapter="", endpoint=""), make_pod("p2")])
    assert [view.unheard for view in fleet.pods()] == [False, True]


def test_a_pod_stays_of_the_runtime_that_it_was_first_listed_with() -> None:
    """Whoever edits its annotation makes no other server of it; and it goes as it came."""
    fleet = make_fleet("p1", "p3")
    assert fleet.list_pods([make_pod("p1", "triton-2.x"), make_pod("p3", "triton-2.x")]) == NOTHING
    moved = make_pod("p1", "triton-2.x", adapter="elsewhere:1")
    assert fleet.list_pods([moved, make_pod("p3", "triton-2.x")]).runtimes == {"mlserver-0.x"}
    assert [(view.pod.uid, view.pod.adapter) for view in fleet.pods("mlserver-0.x")] == [("p1", "elsewhere:1")]
    assert fleet.list_pods([make_pod("p3", "triton-2.x")]).runtimes == {"mlserver-0.x"}
    assert (fleet.pods("mlserver-0.x"), len(fleet.pods("triton-2.x"))) == ((), 1)

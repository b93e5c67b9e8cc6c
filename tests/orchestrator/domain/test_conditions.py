"""The Status table of the contract, row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.conditions import MESSAGE_LIMIT, status_of
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import NO_ROOM, CopyState, Failure, PodView, ServerState
from orchestrator.domain.memory import evicting, standing_by
from orchestrator.domain.observation import Memory, Observation
from orchestrator.domain.trained_model import Condition, ModelStatus
from tests.orchestrator.builders import (
    BEFORE,
    NOW,
    endpoint,
    make_condition,
    make_copy,
    make_failed,
    make_key,
    make_memory,
    make_model,
    make_observation,
    make_pod,
    make_route,
    make_status,
    make_target,
    make_view,
)

SERVED = make_condition(message="served by mlserver-0.x")
UP_TO_DATE = make_condition("UpToDate")
READY = make_status(SERVED, UP_TO_DATE, active="r1", url="x", observed_generation=1, runtime="mlserver-0.x")
DOWN = make_status(make_condition(status="False", reason="RuntimeUnavailable"), UP_TO_DATE, active="r1")
MEMORY = Memory(uid=make_key().uid, revision="r1")


def status(seen: Observation) -> ModelStatus:
    found = status_of(seen, NOW)
    assert found is not None
    return found


def condition(seen: Observation, kind: str = "Ready") -> Condition:
    found = status(seen).condition(kind)
    assert found is not None
    return found


def failed(reason: str, message: str = "why") -> Memory:
    return make_memory(Failure(reason=reason, message=message))


def starting(message: str = "") -> PodView:
    return PodView(pod=make_pod(message=message))


ROWS = {
    "no pod yet": (
        make_observation(pods=()),
        ("False", "RuntimeStarting", "runtime mlserver-0.x: its server starts"),
    ),
    "a pod that crashes": (
        make_observation(pods=(starting("exit code 1, again in 10 s"),)),
        (
            "False",
            "RuntimeStarting",
            "runtime mlserver-0.x: its server starts; pod pod-p1: exit code 1, again in 10 s",
        ),
    ),
    "a server that is up": (make_observation(), ("False", "Downloading", "about to download s3://models/digits")),
    "downloading": (
        make_observation(copies=(make_copy(CopyState.DOWNLOADING),)),
        ("False", "Downloading", "downloading s3://models/digits"),
    ),
    "loading": (
        make_observation(copies=(make_copy(CopyState.LOADING), make_copy(CopyState.DOWNLOADING, pod="p2"))),
        ("False", "Loading", "mlserver-0.x loads s3://models/digits"),
    ),
    "what only a newer version knows": (
        make_observation(copies=(make_copy(CopyState.UNKNOWN),)),
        (
            "False",
            "Loading",
            "mlserver-0.x: its adapter is newer than this orchestrator, and says what is not known here",
        ),
    ),
    "no room yet": (
        make_observation(copies=(make_failed(NO_ROOM),), memory=failed(NO_ROOM)),
        ("False", "Loading", "waiting for room in mlserver-0.x"),
    ),
    "no room where pods are missing": (
        make_observation(
            copies=(make_failed(NO_ROOM),),
            memory=failed(NO_ROOM),
            pools=(("mlserver-0.x", "quota"), ("triton-2.x", "not its pool")),
            pods=(
                make_view(),
                make_view("p2", known=False, given_up=True),
                PodView(pod=make_pod("p3")),
                make_view("p5", known=False),
                PodView(pod=make_pod("p4", message="no node takes it")),
            ),
        ),
        (
            "False",
            "Loading",
            "waiting for room in mlserver-0.x; quota; pod pod-p4: no node takes it; pod pod-p2 does not answer",
        ),
    ),
    "on its way when its pod fell silent": (
        make_observation(copies=(make_copy(CopyState.LOADING),), pods=(make_view(known=False),)),
        ("False", "Loading", "mlserver-0.x loads s3://models/digits"),
    ),
    "on its way in a pod that is not waited for": (
        make_observation(
            copies=(make_copy(CopyState.LOADING), make_copy(CopyState.DOWNLOADING, pod="p2")),
            pods=(make_view(known=False, given_up=True), make_view("p2")),
        ),
        ("False", "Downloading", "downloading s3://models/digits"),
    ),
    "on its way where nobody answers": (
        make_observation(copies=(make_copy(CopyState.LOADING),), pods=(make_view(known=False, given_up=True),)),
        ("False", "RuntimeStarting", "runtime mlserver-0.x: no pod of it answers; pod pod-p1 does not answer"),
    ),
    "the one before it does not leave": (
        make_observation(copies=(make_copy(CopyState.UNLOADING, key=make_key(uid="another")),)),
        ("False", "Loading", "mlserver-0.x still unloads what had this name; requests to that have to end first"),
    ),
    "loaded, no route yet": (
        make_observation(copies=(make_copy(),)),
        ("False", "Loading", "loaded; waiting for the mesh to accept its route"),
    ),
    "loaded, route not accepted yet": (
        make_observation(copies=(make_copy(),), route=make_route(endpoint(), acked=False)),
        ("False", "Loading", "loaded; waiting for the mesh to accept its route"),
    ),
    "loaded, another route accepted": (
        make_observation(copies=(make_copy(),), route=make_route()),
        ("False", "Loading", "loaded; waiting for the mesh to accept its route"),
    ),
    "loaded, route refused": (
        make_observation(copies=(make_copy(),), route=make_route(endpoint(), acked=False, refused="bad address")),
        ("False", "Loading", "loaded, but the mesh refused its route: bad address"),
    ),
    "loaded and routed": (
        make_observation(copies=(make_copy(),), route=make_route(endpoint())),
        ("True", "Loaded", "served by mlserver-0.x"),
    ),
    "evicted before the mesh accepted it": (
        make_observation(status=make_status(active="r1"), memory=standing_by(MEMORY)),
        ("True", "Standby", "not in memory; the next request loads it"),
    ),
    "its server died": (
        make_observation(status=READY, lost=True, pods=(make_view(server=ServerState.LOST),)),
        ("False", "RuntimeUnavailable", "runtime mlserver-0.x: its server died; it is brought back"),
    ),
    "its server is up again": (
        make_observation(status=READY, lost=True, copies=(make_copy(CopyState.LOADING),)),
        ("False", "RuntimeUnavailable", "runtime mlserver-0.x: its server died; it is brought back"),
    ),
    "loaded again after its server died, not routed": (
        make_observation(status=READY, lost=True, copies=(make_copy(),), route=make_route(endpoint(), acked=False)),
        ("False", "RuntimeUnavailable", "runtime mlserver-0.x: its server died; it is brought back"),
    ),
    "brought back by a new controller": (
        make_observation(status=DOWN, copies=(make_copy(CopyState.LOADING),)),
        ("False", "RuntimeUnavailable", "runtime mlserver-0.x: it went with its server; it is brought back"),
    ),
    "brought back and routed": (
        make_observation(status=DOWN, lost=True, copies=(make_copy(),), route=make_route(endpoint())),
        ("True", "Loaded", "served by mlserver-0.x"),
    ),
    "not brought back for want of room": (
        make_observation(status=DOWN, memory=standing_by(MEMORY)),
        ("True", "Standby", "not in memory; the next request loads it"),
    ),
    "not brought back for a failure": (
        make_observation(status=DOWN, lost=True, memory=failed("StorageUnavailable")),
        ("False", "StorageUnavailable", "why"),
    ),
    "no server is up after all were stopped": (
        make_observation(status=READY, pods=(starting(),)),
        ("True", "Loaded", "served by mlserver-0.x"),
    ),
    "no pod at all after all were stopped": (
        make_observation(status=READY, pods=()),
        ("False", "RuntimeUnavailable", "runtime mlserver-0.x: it went with its server; it is brought back"),
    ),
    **{
        f"spec: {reason}": (
            make_observation(target=ModelProblem(reason, "do this")),
            ("False", reason.value, "do this"),
        )
        for reason in (
            Reason.INVALID_STORAGE_URI,
            Reason.NO_SUPPORTING_RUNTIME,
            Reason.RUNTIME_NOT_RECOGNIZED,
            Reason.STORAGE_CONFIG_MISSING,
            Reason.STORAGE_KEY_NOT_FOUND,
            Reason.STORAGE_CONFIG_INVALID,
        )
    },
    **{
        f"load: {reason}": (
            make_observation(memory=failed(reason, "in the server's own words")),
            ("False", reason.value, "in the server's own words"),
        )
        for reason in (
            Reason.MODEL_NOT_FOUND,
            Reason.STORAGE_ACCESS_DENIED,
            Reason.STORAGE_UNAVAILABLE,
            Reason.STORAGE_CONFIG_INVALID,
            Reason.INVALID_MODEL_LAYOUT,
            Reason.MODEL_LOAD_FAILED,
            Reason.MODEL_TOO_LARGE,
        )
    },
}


ROWS["nobody answers in its silent pod"] = (
    make_observation(
        status=READY,
        copies=(make_copy(),),
        pods=(make_view(known=False, message="its node does not answer"),),
        memory=replace(MEMORY, unanswered=True),
        route=make_route(endpoint()),
    ),
    (
        "False",
        "RuntimeUnavailable",
        "neither requests nor its adapter are answered in pod pod-p1: its node does not answer:"
        " it is loaded elsewhere, if there is room",
    ),
)


@pytest.mark.parametrize(("seen", "expected"), ROWS.values(), ids=ROWS)
def test_ready_says_which_row_of_the_table(seen: Observation, expected: tuple[str, str, str]) -> None:
    """Status, reason and message of condition Ready."""
    found = condition(seen)
    assert (found.status, found.reason, found.message) == expected


STILL_READY = {
    "its route changes": make_observation(status=READY, copies=(make_copy(),), route=make_route("10.0.0.1:1")),
    "its route is not accepted yet": make_observation(
        status=READY, copies=(make_copy(),), route=make_route(endpoint(), acked=False)
    ),
    "the controller is new": make_observation(status=READY, copies=(make_copy(),), stranger=True),
    "its pod is silent": make_observation(
        status=READY, copies=(make_copy(),), pods=(make_view(known=False),), route=make_route(endpoint())
    ),
    "its pod has not been heard by a new controller": make_observation(status=READY, pods=(make_view(known=False),)),
    "it is being evicted": make_observation(
        status=READY, copies=(make_copy(),), memory=evicting(MEMORY, make_copy().ref), route=make_route(acked=False)
    ),
    "it was evicted": make_observation(status=READY, memory=standing_by(MEMORY)),
    "it was evicted, and its server died": make_observation(status=READY, memory=standing_by(MEMORY), pods=()),
    "it comes back on demand": make_observation(status=READY, copies=(make_copy(CopyState.LOADING),)),
    "it is back on demand": make_observation(status=READY, copies=(make_copy(),), route=make_route()),
    "it finds no room": make_observation(status=READY, copies=(make_failed(NO_ROOM),), memory=failed(NO_ROOM)),
}


@pytest.mark.parametrize("seen", STILL_READY.values(), ids=STILL_READY)
def test_no_word_changes_while_a_request_is_still_answered(seen: Observation) -> None:
    """Neither Loaded ↔ Standby moves nor changes of the route, nor silence, are news: nothing is written."""
    assert status(seen).conditions == READY.conditions


def test_what_is_silent_may_serve_on_though_the_spec_cannot_be_served() -> None:
    """READY stays until the pod is heard; UpToDate tells of the spec."""
    problem = ModelProblem(Reason.STORAGE_CONFIG_MISSING, "no Secret")
    silent = make_observation(status=READY, target=problem, pods=(make_view(), make_view("p2", known=False)))
    assert condition(silent) == SERVED
    assert condition(silent, "UpToDate").reason == "StorageConfigMissing"
    heard = replace(silent, pods=(make_view(), make_view("p2")))
    assert (condition(heard).status, condition(heard).reason) == ("False", "StorageConfigMissing")


def test_what_stood_by_says_loaded_once_it_is_and_keeps_to_it() -> None:
    """One write at most: the reason does not go back to Standby when the copy goes."""
    standby = make_status(make_condition(reason="Standby"), UP_TO_DATE, active="r1")
    back = status(make_observation(status=standby, copies=(make_copy(),), route=make_route(endpoint())))
    assert back.conditions[0].reason == "Loaded"
    gone = status(make_observation(status=back, memory=standing_by(MEMORY)))
    assert gone.conditions == back.conditions


def test_a_failed_update_keeps_ready_and_says_so_in_up_to_date() -> None:
    """Ready stays on the old revision; UpToDate carries reason and message; what is active does not change."""
    serving: dict[str, Any] = {"copies": (make_copy(key=make_key("r0")),), "route": make_route(endpoint())}
    old = make_status(SERVED, UP_TO_DATE, active="r0")
    for seen, reason in [
        (make_observation(status=old, memory=failed("ModelNotFound"), **serving), "ModelNotFound"),
        (
            make_observation(status=old, target=ModelProblem(Reason.STORAGE_CONFIG_MISSING, "why"), **serving),
            "StorageConfigMissing",
        ),
    ]:
        found = status(seen)
        assert found.conditions[0] == SERVED
        assert (found.conditions[1].status, found.conditions[1].reason) == ("False", reason)
        assert (found.conditions[1].message, found.conditions[1].last_transition_time) == ("why", NOW)
        assert found.active_revision == "r0"


def test_what_never_loaded_is_not_up_to_date() -> None:
    """Nor behind: `kubectl wait --for=condition=UpToDate` must not end before anything serves."""
    for seen in (
        make_observation(status=ModelStatus()),
        make_observation(status=ModelStatus(), memory=failed("ModelNotFound")),
    ):
        found = condition(seen, "UpToDate")
        assert (found.status, found.reason) == ("Unknown", condition(seen).reason)


def test_an_update_under_way_is_neither_up_to_date_nor_failed() -> None:
    """Until it is known which of both it will be."""
    old = make_status(SERVED, UP_TO_DATE, active="r0")
    seen = make_observation(status=old, copies=(make_copy(key=make_key("r0")), make_copy(CopyState.LOADING)))
    assert condition(seen, "UpToDate").status == "Unknown"
    assert "the one before it serves" in condition(seen, "UpToDate").message
    assert condition(seen).status == "True"
    no_room = Failure(reason=NO_ROOM, message="s3://m: needs 60 bytes; 40 of 100 are free", needed=60)
    waits = replace(seen, copies=(make_copy(key=make_key("r0")),), memory=replace(seen.memory, room=no_room))
    assert condition(waits, "UpToDate").message == (
        "the changed model waits for room: s3://m: needs 60 bytes; 40 of 100 are free; the one before it serves until then"
    )
    for memory in (seen.memory, waits.memory):
        died = replace(seen, copies=(make_copy(CopyState.LOADING),), lost=True, memory=memory)
        said = "the changed model is on its way; nothing serves until then: see Ready"
        assert condition(died, "UpToDate").message == said
    loaded = make_observation(status=old, copies=(make_copy(),), route=make_route(endpoint()))
    assert condition(loaded, "UpToDate").status == "True"
    assert status(loaded).active_revision == "r1"


def test_what_loaded_is_recorded_when_it_has_loaded_and_not_before() -> None:
    """A copy of the target that is loaded; a copy of anything else changes nothing."""
    under_way = status(make_observation(copies=(make_copy(CopyState.LOADING),)))
    assert (under_way.active_revision, under_way.active_storage_uri) == ("", "")
    loaded = status(make_observation(copies=(make_copy(),)))
    assert (loaded.active_revision, loaded.active_storage_uri) == ("r1", "s3://models/digits")


def test_a_status_is_of_the_generation_that_was_seen() -> None:
    """observedGeneration, url and runtime are there from the first look; a runtime is kept while none can be chosen."""
    found = status(make_observation(model=make_model(generation=7), pods=()))
    assert (found.observed_generation, found.runtime) == (7, "mlserver-0.x")
    assert found.url == "grpc://wml-serving:8033?mm-vmodel-id=digits"
    problem = ModelProblem(Reason.NO_SUPPORTING_RUNTIME, "none")
    assert status(make_observation(target=problem, status=READY)).runtime == "mlserver-0.x"


def test_a_condition_is_dated_by_the_last_change_of_its_status() -> None:
    """Neither reason nor message nor another generation count."""
    loading = make_status(make_condition(status="False", reason="Downloading"))
    kept = condition(make_observation(status=loading, copies=(make_copy(CopyState.LOADING),)))
    assert (kept.reason, kept.last_transition_time) == ("Loading", BEFORE)
    turned = condition(make_observation(status=loading, copies=(make_copy(),), route=make_route(endpoint())))
    assert (turned.status, turned.last_transition_time) == ("True", NOW)


@pytest.mark.parametrize("seen", [*(s for s, _ in ROWS.values()), *STILL_READY.values()])
def test_looking_twice_writes_once(seen: Observation) -> None:
    """The status of a model whose status was written is the same: nothing to write."""
    assert seen.model is not None
    written = status(seen)
    again = replace(seen, model=replace(seen.model, status=written))
    assert status_of(again, "2027-01-01T00:00:00Z") == written


def test_a_model_that_is_gone_has_no_status() -> None:
    """There is nowhere to write it."""
    assert status_of(make_observation(model=None, copies=(make_copy(),)), NOW) is None


def test_no_store_and_no_server_fills_a_status() -> None:
    """Messages are cut."""
    found = condition(make_observation(memory=failed("ModelLoadFailed", "x" * 100_000)))
    assert len(found.message) == MESSAGE_LIMIT


def test_a_reason_of_another_version_is_passed_on() -> None:
    """A status that a newer version wrote, or a newer adapter's failure, must not stop the reconcile."""
    newer = make_status(make_condition(reason="ServedByMagic"), active="r1")
    assert condition(make_observation(status=newer)).reason == "ServedByMagic"
    assert condition(make_observation(memory=failed("OutOfMagic"))).reason == "OutOfMagic"


def test_the_secrets_of_the_target_are_in_no_message() -> None:
    """Whatever the row."""
    secret = make_target().credentials.secret_access_key
    assert not any(secret in repr(status(seen)) for seen, _ in ROWS.values())

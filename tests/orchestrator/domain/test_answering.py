"""What an activator that asks for a model is told."""

from __future__ import annotations

import pytest
from hypothesis import given

from orchestrator.domain.answering import answer
from orchestrator.domain.conditions import ready_verdict
from orchestrator.domain.demand import OnDemand, ReadyAt, Refused, WaitFor, Want
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.fleet import NO_ROOM, CopyState, Failure
from orchestrator.domain.memory import standing_by
from orchestrator.domain.observation import Memory, Observation
from tests.orchestrator.builders import (
    endpoint,
    make_condition,
    make_copy,
    make_failed,
    make_key,
    make_memory,
    make_observation,
    make_status,
    make_view,
)
from tests.orchestrator.domain.test_plan_laws import observations
from tests.properties import examples

MEMORY = Memory(uid=make_key().uid, revision="r1")
LOADED_BEFORE = make_status(make_condition(), active="r1")
PROBLEM = ModelProblem(Reason.STORAGE_CONFIG_MISSING, "create it")


def failed(reason: str = "ModelNotFound") -> Memory:
    return make_memory(Failure(reason=reason, message="why"))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (
            make_observation(model=None),
            Refused(5, "model 'digits' not found: there is no TrainedModel of that name"),
        ),
        (make_observation(copies=(make_copy(),)), ReadyAt((endpoint(),))),
        (make_observation(target=PROBLEM, copies=(make_copy(),)), ReadyAt((endpoint(),))),
        (
            make_observation(target=PROBLEM),
            Refused(9, "model 'digits' is not ready: StorageConfigMissing: create it"),
        ),
        (
            make_observation(copies=(make_failed(),), memory=failed()),
            Refused(9, "model 'digits' is not ready: ModelNotFound: why"),
        ),
        (
            make_observation(copies=(make_copy(CopyState.LOADING),), want=Want(load=True)),
            WaitFor("Loading: mlserver-0.x loads s3://models/digits"),
        ),
        (
            make_observation(memory=failed(NO_ROOM), want=Want(load=True)),
            WaitFor("Loading: waiting for room in mlserver-0.x"),
        ),
        (make_observation(status=LOADED_BEFORE, memory=standing_by(MEMORY)), OnDemand()),
        (make_observation(status=LOADED_BEFORE, memory=standing_by(MEMORY), want=Want()), OnDemand()),
        (
            make_observation(status=LOADED_BEFORE, memory=standing_by(MEMORY), want=Want(load=True)),
            WaitFor("Downloading: about to download s3://models/digits"),
        ),
        (
            make_observation(
                status=LOADED_BEFORE, memory=failed(NO_ROOM), copies=(make_failed(NO_ROOM),), want=Want(load=True)
            ),
            WaitFor("Loading: waiting for room in mlserver-0.x"),
        ),
        (
            make_observation(status=LOADED_BEFORE, lost=True, pods=()),
            WaitFor("RuntimeUnavailable: runtime mlserver-0.x: its server died; it is brought back"),
        ),
    ],
)
def test_an_activator_is_told_where_or_why_not_or_to_wait(seen: Observation, expected: object) -> None:
    """NOT_FOUND for what is not there, FAILED_PRECONDITION at once for what failed; Standby loads on demand only."""
    assert answer(seen) == expected


@pytest.mark.parametrize("character", ["k", "ß"])
def test_no_answer_is_longer_than_grpc_takes(character: str) -> None:
    """It ends as a header, of which a client takes 8 KiB, with three bytes for each that is not ASCII."""
    long = ModelProblem(Reason.STORAGE_KEY_NOT_FOUND, character * 200_000)
    refused = answer(make_observation(target=long))
    waits = answer(make_observation(pods=(make_view(message=character * 200_000),), status=LOADED_BEFORE, lost=True))
    assert isinstance(refused, Refused)
    assert isinstance(waits, WaitFor)
    for told in (refused, waits):
        assert 2_000 < len(told.message.encode()) < 2_500


@examples(500)
@given(observations)
def test_nobody_is_refused_whose_model_is_ready(seen: Observation) -> None:
    """READY is about requests: while it is True they are answered, or wait; but for what a silent pod may hold."""
    if seen.model is not None and all(p.known for p in seen.pods) and ready_verdict(seen).status == "True":
        assert not isinstance(answer(seen), Refused)

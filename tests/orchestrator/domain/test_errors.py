"""Errors hold data; their text is derived from it."""

from __future__ import annotations

import pickle

import pytest

from orchestrator.domain.errors import InvalidManifest, ModelProblem, ProductError, Reason, surprise


def test_errors_say_what_they_hold() -> None:
    """And survive a copy, since their arguments are their data."""
    manifest = InvalidManifest("spec.model", "required: a mapping")
    problem = ModelProblem(Reason.MODEL_NOT_FOUND, "no such object")
    assert str(manifest) == "spec.model: required: a mapping"
    assert str(problem) == "ModelNotFound: no such object"
    for error in (manifest, problem):
        assert isinstance(error, ProductError)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_nobody_expected_is_told_by_kind_and_place_alone() -> None:
    """Its text may be a secret."""

    def read() -> None:
        raise KeyError("hunter2")

    with pytest.raises(KeyError) as caught:
        read()
    told = surprise(caught.value)
    assert told.startswith("internal error of the orchestrator (KeyError in read:")
    assert "hunter2" not in told
    assert "(KeyError)" in surprise(KeyError("hunter2"))

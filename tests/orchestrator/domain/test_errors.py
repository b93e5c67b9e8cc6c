"""Errors hold data; their text is derived from it."""

from __future__ import annotations

import pickle

from orchestrator.domain.errors import InvalidManifest, ModelProblem, ProductError, Reason


def test_errors_say_what_they_hold() -> None:
    """And survive a copy, since their arguments are their data."""
    manifest = InvalidManifest("spec.model", "required: a mapping")
    problem = ModelProblem(Reason.MODEL_NOT_FOUND, "no such object")
    assert str(manifest) == "spec.model: required: a mapping"
    assert str(problem) == "ModelNotFound: no such object"
    for error in (manifest, problem):
        assert isinstance(error, ProductError)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

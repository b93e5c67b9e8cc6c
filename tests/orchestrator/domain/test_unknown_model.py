from __future__ import annotations

import re

import pytest

from orchestrator.domain.unknown_model import UNKNOWN_MODEL


@pytest.mark.parametrize(
    ("text", "stale"),
    [
        ("Request for unknown model: 'digits' is not found", True),
        ("Request for unknown model: 'digits' has no available versions", True),
        ("Request for unknown model: 'digits' version 1 is not at ready state", True),
        ("Model digits not found", True),
        ("Model digits with version  not found", True),
        ("Model digits is not ready yet.", True),
        ("Request for unknown model: '' is not found", True),
        ("Model  with version  not found", True),
        ("Model  not found", True),
        ("Unexpected <class 'mlserver.errors.ModelNotFound'>: Model digits with version  not found", True),
        ("Unexpected <class 'mlserver.errors.InferenceError'>: Model digits not found", False),
        ("Request for unknown model: 'digits' version 7 is not found", False),
        ("ValueError: Model digits not found in my table", False),
        ("unexpected inference input 'x' for model 'digits'", False),
    ],
)
def test_which_words_of_a_server_mean_a_stale_route(text: str, stale: bool) -> None:
    """Whole texts only: a model's own error that speaks of models is the caller's to see."""
    assert any(re.fullmatch(pattern, text) for pattern in UNKNOWN_MODEL) is stale

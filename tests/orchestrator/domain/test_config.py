"""ConfigMap wml-serving-config."""

from __future__ import annotations

import pytest

from orchestrator.domain.config import Config, parse_config
from orchestrator.domain.errors import InvalidManifest

DEFAULTS = Config(pods_per_runtime=2, pool_grace_s=30.0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, DEFAULTS),
        ({"podsPerRuntime": "5"}, Config(pods_per_runtime=5, pool_grace_s=30.0)),
        ({"podsPerRuntime": "0"}, Config(pods_per_runtime=1, pool_grace_s=30.0)),
        ({"poolGraceSeconds": "0.5"}, Config(pods_per_runtime=2, pool_grace_s=0.5)),
    ],
)
def test_what_is_not_said_keeps_its_default(data: dict[str, str], expected: Config) -> None:
    """Values are text, as in any ConfigMap; a runtime may always have one pod."""
    assert parse_config(data, DEFAULTS) == expected


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("podsperruntime", "1", "not a setting; known: podsPerRuntime, poolGraceSeconds"),
        ("podsPerRuntime", "1.5", "'1.5' is not a number"),
        ("podsPerRuntime", "many", "'many' is not a number"),
        ("podsPerRuntime", "-1", "'-1' is out of range"),
        ("poolGraceSeconds", "nan", "'nan' is out of range"),
        ("poolGraceSeconds", "inf", "'inf' is out of range"),
        ("poolGraceSeconds", "", "'' is not a number"),
    ],
)
def test_a_setting_that_is_none_is_refused_by_name(key: str, value: str, said: str) -> None:
    """A typo must not pass for a default."""
    with pytest.raises(InvalidManifest) as caught:
        parse_config({key: value}, DEFAULTS)
    assert (caught.value.field, caught.value.problem) == (key, said)

"""ConfigMap wml-serving-config."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.config import Config, parse_config

DEFAULTS = Config(pods_per_runtime=2, pool_grace_s=30.0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, {}),
        ({"podsPerRuntime": "5"}, {"pods_per_runtime": 5}),
        ({"podsPerRuntime": "0"}, {"pods_per_runtime": 1}),
        ({"poolGraceSeconds": "0.5"}, {"pool_grace_s": 0.5}),
        ({"logLevel": "DEBUG"}, {"log_level": "debug"}),
        ({"image.triton-2.x": " registry/triton:1 "}, {"images": {"triton-2.x": "registry/triton:1"}}),
    ],
)
def test_what_is_not_said_keeps_its_default(data: dict[str, str], expected: dict[str, Any]) -> None:
    """Values are text, as in any ConfigMap; a runtime may always have one pod."""
    assert parse_config(data, DEFAULTS) == (replace(DEFAULTS, **expected), ())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "podsperruntime",
            "1",
            "not a setting; known: podsPerRuntime, poolGraceSeconds, logLevel, image.<runtime>",
        ),
        ("podsPerRuntime", "1.5", "'1.5' is not a number"),
        ("podsPerRuntime", "many", "'many' is not a number"),
        ("podsPerRuntime", "-1", "'-1' is out of range"),
        ("poolGraceSeconds", "nan", "'nan' is out of range"),
        ("poolGraceSeconds", "inf", "'inf' is out of range"),
        ("poolGraceSeconds", "", "'' is not a number"),
        ("logLevel", "loud", "'loud' is none of debug, info, warning, error"),
        ("image.", "x", "not a setting; known: podsPerRuntime, poolGraceSeconds, logLevel, image.<runtime>"),
        ("image.r", "", "'' is not the name of an image"),
        ("image.r", "two words", "'two words' is not the name of an image"),
    ],
)
def test_a_setting_that_is_none_is_named_and_stops_no_other(key: str, value: str, said: str) -> None:
    """A typo must not pass for a default, nor take what is beside it."""
    config, problems = parse_config({key: value, "image.other": "x"}, DEFAULTS)
    assert [(p.field, p.problem) for p in problems] == [(key, said)]
    assert config == replace(DEFAULTS, images={"other": "x"})


@pytest.mark.parametrize("key", ["podsPerRuntime", "poolGraceSeconds", "logLevel", "image.r"])
def test_what_cannot_be_read_stays_as_it_was(key: str) -> None:
    """And what is not said any more has its default again."""
    good = {"podsPerRuntime": "7", "poolGraceSeconds": "7", "logLevel": "error", "image.r": "x"}
    last, _ = parse_config(good, DEFAULTS)
    config, problems = parse_config(good | {key: ""}, DEFAULTS, last)
    assert (config, len(problems)) == (last, 1)
    assert parse_config({}, DEFAULTS, last) == (DEFAULTS, ())

"""Quantities: apimachinery's grammar, to bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidManifest
from orchestrator.domain.quantity import parse_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("512", 512),
        ("512Mi", 512 << 20),
        ("1Gi", 1 << 30),
        ("1.5Ki", 1536),
        (".5Ki", 512),
        ("1.Ki", 1024),
        ("+2k", 2000),
        ("2M", 2_000_000),
        ("1E", 10**18),
        ("1Ei", 1 << 60),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12e-1", 2),
        ("1500m", 2),
        ("1m", 1),
        ("-0", 0),
        (7, 7),
    ],
)
def test_a_quantity_is_bytes_rounded_up(text: object, expected: int) -> None:
    """Suffixes binary and decimal, exponents, fractions."""
    assert parse_bytes(text, "memory") == expected


@pytest.mark.parametrize(
    "value", ["", " 1", "1 Mi", "1mi", "Mi", "1e", "1Xi", "0x10", "1_000", "one", "1Mi\n", None, True, 1.5, [1]]
)
def test_what_is_no_quantity_is_refused_by_name(value: object) -> None:
    """The message names the field and shows the value."""
    with pytest.raises(InvalidManifest) as caught:
        parse_bytes(value, "spec.memory")
    assert str(caught.value) == f"spec.memory: {value!r} is not a quantity such as 512Mi"


@pytest.mark.parametrize("value", ["-1", "-0.5Gi"])
def test_a_negative_quantity_is_refused(value: str) -> None:
    """No server has less than no memory."""
    with pytest.raises(InvalidManifest, match="is negative"):
        parse_bytes(value, "memory")


@pytest.mark.parametrize(
    "value",
    ["9" * 900_000, "9" * 999_990 + "E", " " * 65, 1 << 4_000_000, -(1 << 4_000_000), -1],
    # pytest would make names of them.
    ids=["digits", "digits and a suffix", "spaces", "number", "negative number", "-1"],
)
def test_a_quantity_of_a_megabyte_takes_no_time_and_is_not_shown(value: str | int) -> None:
    """An object has room for it, and the CRDs of others have no length; to read its value takes minutes."""
    with pytest.raises(InvalidManifest) as caught:
        parse_bytes(value, "memory")
    assert len(str(caught.value)) < 100


@given(number=st.integers(0, 10**9), suffix=st.sampled_from(["", "Ki", "Mi", "Gi", "Ti"]))
def test_whole_numbers_are_exact(number: int, suffix: str) -> None:
    """No floating point on the way."""
    power = ["", "Ki", "Mi", "Gi", "Ti"].index(suffix)
    assert parse_bytes(f"{number}{suffix}", "memory") == number << (10 * power)

"""Certificates as values."""

from __future__ import annotations

import os
import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.platform.kube.certificates import (
    AUTHORITY_LIFE,
    BACKDATE,
    LEAF_LIFE,
    Certificate,
    Entropy,
    Pair,
    belongs,
    make_authority,
    make_leaf,
    read,
    read_bundle,
)

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


def entropy(seed: int) -> Entropy:
    return random.Random(seed).randbytes


def certificate(pair: Pair) -> Certificate:
    found = read(pair.certificate)
    assert found is not None
    return found


AUTHORITY = make_authority(NOW, entropy(1))
LEAF = make_leaf(AUTHORITY, "mesh", NOW, entropy(2))


def test_what_is_made_depends_on_its_arguments_alone() -> None:
    """Of equal time and randomness come equal certificates; of other randomness, other keys."""
    assert make_authority(NOW, entropy(1)) == AUTHORITY
    assert make_leaf(AUTHORITY, "mesh", NOW, entropy(2)) == LEAF
    assert make_authority(NOW, entropy(3)).key != AUTHORITY.key


def test_an_authority_signs_itself_for_ten_years_and_a_leaf_for_ninety_days() -> None:
    """From an hour ago, since clocks differ."""
    authority, leaf = certificate(AUTHORITY), certificate(LEAF)
    assert (authority.since, authority.until) == (NOW - BACKDATE, NOW + AUTHORITY_LIFE)
    assert (leaf.since, leaf.until) == (NOW - BACKDATE, NOW + LEAF_LIFE)
    assert (authority.authority, leaf.authority) == (True, False)
    assert (authority.roles, leaf.roles) == (frozenset(), frozenset({"mesh"}))
    assert authority.signed_by(authority)
    assert leaf.signed_by(authority)
    assert not authority.signed_by(leaf)
    assert not leaf.signed_by(certificate(make_authority(NOW, entropy(3))))


def test_a_leaf_does_not_outlive_its_authority() -> None:
    """It would say to be valid, and nobody would take it."""
    late = NOW + AUTHORITY_LIFE - timedelta(days=3)
    assert certificate(make_leaf(AUTHORITY, "mesh", late, entropy(2))).until == NOW + AUTHORITY_LIFE


def test_openssl_takes_a_leaf_for_both_ends(tmp_path: Path) -> None:
    """Another implementation's word: strict, for clients and servers, by its name."""
    now = datetime.now(UTC)
    authority = make_authority(now, os.urandom)
    leaf = make_leaf(authority, "adapter", now, os.urandom)
    (tmp_path / "ca").write_bytes(authority.certificate)
    (tmp_path / "leaf").write_bytes(leaf.certificate)
    for purpose in ("sslclient", "sslserver"):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", "adapter"]
        done = subprocess.run(
            [*command, "-CAfile", tmp_path / "ca", tmp_path / "leaf"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("after", "valid", "due"),
    [
        (-timedelta(hours=2), False, False),
        (timedelta(0), True, False),
        (timedelta(days=59), True, False),
        (timedelta(days=60), True, True),
        (timedelta(days=89), True, True),
        (timedelta(days=90), False, True),
    ],
)
def test_a_leaf_through_its_life(after: timedelta, valid: bool, due: bool) -> None:
    """Due at two thirds; not valid before it was made, nor at its end."""
    leaf = certificate(LEAF)
    assert (leaf.valid(NOW + after), leaf.due(NOW + after)) == (valid, due)


def test_a_key_belongs_to_its_certificate_alone() -> None:
    """Whatever the key's text is."""
    assert belongs(LEAF.key, certificate(LEAF))
    assert not belongs(AUTHORITY.key, certificate(LEAF))
    for text in (b"", b"no key", LEAF.certificate, LEAF.key[:-40], _RSA):
        assert not belongs(text, certificate(LEAF))


def test_a_bundle_is_read_whatever_is_between() -> None:
    """Text of people, and certificates that are none."""
    broken = AUTHORITY.certificate.replace(b"M", b"N")
    found = read_bundle(b"# ours\n" + AUTHORITY.certificate + broken + b"\n\n" + LEAF.certificate + b"trailing")
    assert [c.pem for c in found] == [AUTHORITY.certificate, LEAF.certificate]


@given(st.binary(max_size=200), st.integers(0, len(LEAF.certificate)), st.integers(0, 3))
def test_whatever_is_read_is_a_certificate_or_none(noise: bytes, at: int, kind: int) -> None:
    """No error for noise, for a part, or for a certificate with a hole in it."""
    text = (noise, LEAF.certificate[:at], LEAF.certificate[:at] + noise, LEAF.certificate[:at] + LEAF.certificate)[kind]
    for found in read_bundle(text):
        assert found.pem
    read(text)
    belongs(text, certificate(LEAF))


def test_no_text_of_a_pair_has_its_key() -> None:
    """Neither repr nor str: they end up in logs."""
    secret = LEAF.key.decode().splitlines()[1]
    assert secret not in repr(LEAF)
    assert secret not in str(LEAF)


_RSA = subprocess.run(["openssl", "genrsa", "1024"], capture_output=True, check=False).stdout

"""
What must be written into the Secrets of mutual TLS: a decision, on what is stored and the time.

The authority's Secret holds the one that signs, and the bundle of those that
are trusted. A new authority is in every bundle first, and signs only when a day
has passed and all Secrets say so: whoever mounts one has read it by then, for a
kubelet takes a minute or two. What it signs for want of anything that is valid
is signed at once; there is nothing to break.

An authority's predecessors stay in the bundle until they expire. Their keys are
not kept: nothing is signed in the day between, since a leaf is renewed a month
before its end.

What is stored may be of anybody. A part that cannot be used is made anew; where
the authority is lost, leaves go on with what they have, as in any other renewal.
To distrust an authority at once, delete all Secrets of mutual TLS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from orchestrator.platform.kube.certificates import (
    BACKDATE,
    Certificate,
    Entropy,
    Pair,
    belongs,
    make_authority,
    make_leaf,
    read,
    read_bundle,
)
from orchestrator.platform.kube.names import CA_SECRET, TLS_SECRETS
from orchestrator.transport.identity import AUTHORITIES_FILE, CERTIFICATE_FILE, KEY_FILE, Identity

#: From a new authority's making until it signs what has a valid certificate.
OVERLAP: Final = timedelta(days=1)
#: Of trusted authorities; more are nobody's doing but that of clocks that jump.
_MOST: Final = 4

Data = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Write:
    """What a Secret's data must be, and why."""

    name: str
    data: Data = field(repr=False)
    reason: str


def plan(stored: Mapping[str, Data], now: datetime, entropy: Entropy) -> tuple[Write, ...]:
    """
    The writes, in the order in which they must be made: none of a later one if an earlier one failed.

    `stored` has the data of the Secrets that exist. Planning again on what was written gives no writes.
    """
    now = now.replace(microsecond=0)
    held = stored.get(CA_SECRET, {})
    signer, reason = _signer(held, now, entropy)
    newest = read(signer.certificate)
    assert newest is not None, "it was just read or made"
    bundle = _bundle(newest, stored, now)
    authority = {**_files(signer), AUTHORITIES_FILE: _text(bundle)}
    writes = [] if _same(held, authority) else [Write(CA_SECRET, authority, reason or "bundle")]
    told = all(_trusts(stored.get(name, {}), newest) for name in TLS_SECRETS.values())
    signs = told and now >= newest.since + BACKDATE + OVERLAP
    for role, name in TLS_SECRETS.items():
        data = stored.get(name, {})
        leaf, reason = _leaf(data, role, signer, bundle, now, entropy, signs=signs)
        wanted = {**_files(leaf), AUTHORITIES_FILE: _text(bundle)}
        if not _same(data, wanted):
            writes.append(Write(name, wanted, reason or "bundle"))
    return tuple(writes)


def identity(data: Data, role: str, now: datetime) -> Identity | None:
    """What a Secret's data makes of its holder; None if it could not be that role now."""
    pair = _pair(data)
    bundle = read_bundle(data.get(AUTHORITIES_FILE, b""))
    if pair is None or _flaw(pair, role, bundle, now):
        return None
    return Identity(pair.certificate, pair.key, _text(bundle))


def _signer(held: Data, now: datetime, entropy: Entropy) -> tuple[Pair, str]:
    pair = _pair(held)
    certificate = read(pair.certificate) if pair is not None else None
    if not held:
        reason = "missing"
    elif pair is None or certificate is None or not belongs(pair.key, certificate):
        reason = "unusable"
    elif not certificate.authority or not certificate.signed_by(certificate):
        reason = "no authority"
    elif not certificate.valid(now):
        reason = "not valid now"
    elif certificate.due(now):
        reason = "due"
    else:
        return pair, ""
    return make_authority(now, entropy), reason


def _bundle(newest: Certificate, stored: Mapping[str, Data], now: datetime) -> tuple[Certificate, ...]:
    """The newest, and whatever the leaves that exist could be signed by."""
    found = [c for data in stored.values() for c in read_bundle(data.get(AUTHORITIES_FILE, b""))]
    # Its own certificate is trusted also where the bundle was lost.
    found += read_bundle(stored.get(CA_SECRET, {}).get(CERTIFICATE_FILE, b""))
    older = {c.pem: c for c in found if c.authority and c.signed_by(c) and c.until > now and c.pem != newest.pem}
    kept = sorted(older.values(), key=lambda c: (c.since, c.pem), reverse=True)
    return (newest, *kept[: _MOST - 1])


def _leaf(
    data: Data,
    role: str,
    signer: Pair,
    bundle: tuple[Certificate, ...],
    now: datetime,
    entropy: Entropy,
    *,
    signs: bool,
) -> tuple[Pair, str]:
    pair = _pair(data)
    reason = "missing" if not data else "unusable"
    if pair is not None:
        reason = _flaw(pair, role, bundle, now)
        leaf = read(pair.certificate)
        if not reason and leaf is not None:
            # By an authority that is younger than a day nothing is signed that need not be.
            if not signs or (leaf.signed_by(bundle[0]) and not leaf.due(now)):
                return pair, ""
            reason = "due" if leaf.due(now) else "authority renewed"
    return make_leaf(signer, role, now, entropy), reason


def _flaw(pair: Pair, role: str, bundle: tuple[Certificate, ...], now: datetime) -> str:
    """Why a peer would not take the pair for that role; empty if it would."""
    leaf = read(pair.certificate)
    if leaf is None or not belongs(pair.key, leaf):
        return "unusable"
    if leaf.authority or leaf.roles != {role}:
        return "not of this role"
    if not leaf.valid(now):
        return "not valid now"
    if not any(leaf.signed_by(authority) and authority.valid(now) for authority in bundle):
        return "of no trusted authority"
    return ""


def _pair(data: Data) -> Pair | None:
    certificate, key = data.get(CERTIFICATE_FILE), data.get(KEY_FILE)
    return Pair(certificate, key) if certificate and key else None


def _files(pair: Pair) -> Data:
    return MappingProxyType({CERTIFICATE_FILE: pair.certificate, KEY_FILE: pair.key})


def _text(bundle: tuple[Certificate, ...]) -> bytes:
    return b"".join(c.pem for c in bundle)


def _trusts(data: Data, authority: Certificate) -> bool:
    return authority in read_bundle(data.get(AUTHORITIES_FILE, b""))


def _same(held: Data, wanted: Data) -> bool:
    """Keys of others in the Secret are let be."""
    return all(held.get(name) == value for name, value in wanted.items())

"""What must be written into the Secrets of mutual TLS, and when."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.platform.kube.certificates import (
    AUTHORITY_LIFE,
    LEAF_LIFE,
    Certificate,
    make_authority,
    make_leaf,
    read,
    read_bundle,
)
from orchestrator.platform.kube.names import CA_SECRET, TLS_SECRETS
from orchestrator.platform.kube.tls_plan import OVERLAP, Data, identity, plan
from orchestrator.transport.identity import ADAPTER, MESH, ORCHESTRATOR
from tests.properties import examples

NOW = datetime(2031, 5, 6, 7, 8, 9, 1234, tzinfo=UTC)
LEAVES = tuple(TLS_SECRETS.values())

Stored = dict[str, Data]


class World:
    """Secrets, and a clock."""

    def __init__(self, now: datetime = NOW, seed: int = 1) -> None:
        self.now = now
        self.stored: Stored = {}
        self.entropy = random.Random(seed).randbytes

    def act(self) -> dict[str, str]:
        """Plan and write all of it; name → reason."""
        writes = plan(self.stored, self.now, self.entropy)
        for write in writes:
            self.stored[write.name] = {**self.stored.get(write.name, {}), **write.data}
        return {write.name: write.reason for write in writes}

    def usable(self) -> bool:
        return all(identity(self.stored[name], role, self.now) for role, name in TLS_SECRETS.items())

    def leaf(self, role: str = MESH) -> Certificate:
        found = read(self.stored[TLS_SECRETS[role]]["tls.crt"])
        assert found is not None
        return found

    def authority(self) -> Certificate:
        found = read(self.stored[CA_SECRET]["tls.crt"])
        assert found is not None
        return found


def trusts(one: Mapping[str, bytes], other: Mapping[str, bytes], now: datetime) -> bool:
    """Whether the holder of one Secret takes the leaf of the other."""
    leaf = read(other["tls.crt"])
    assert leaf is not None
    return leaf.valid(now) and any(leaf.signed_by(a) and a.valid(now) for a in read_bundle(one["ca.crt"]))


@pytest.fixture
def world() -> World:
    """After the first plan."""
    made = World()
    made.act()
    return made


def test_of_nothing_all_is_made_at_once_and_then_nothing_is_to_do() -> None:
    """The authority first, since nothing else is worth anything without it."""
    world = World()
    assert list(world.act().items()) == [(name, "missing") for name in (CA_SECRET, *LEAVES)]
    assert world.usable()
    assert world.act() == {}


def test_the_roles_are_those_of_the_transport() -> None:
    """The names of Secrets and the names in certificates."""
    assert set(TLS_SECRETS) == {ORCHESTRATOR, MESH, ADAPTER}


def test_a_leaf_is_renewed_at_two_thirds_of_its_life(world: World) -> None:
    """By the same authority; the other Secrets are renewed with it, since they are as old."""
    authority = world.authority()
    world.now += LEAF_LIFE * 2 / 3 - timedelta(hours=2)
    assert world.act() == {}
    world.now += timedelta(hours=2)
    assert world.act() == dict.fromkeys(LEAVES, "due")
    assert world.authority() == authority
    assert world.act() == {}


def test_an_authority_is_trusted_for_a_day_before_it_signs(world: World) -> None:
    """Bundles first, of both; the leaves stay as they are, and are renewed a day later. The old one stays trusted."""
    world.now += AUTHORITY_LIFE * 2 / 3 - LEAF_LIFE / 2
    world.act()
    before = world.leaf()
    old = world.authority()
    world.now += LEAF_LIFE / 2 + timedelta(hours=1)
    assert world.act() == {CA_SECRET: "due", **dict.fromkeys(LEAVES, "bundle")}
    assert world.leaf() == before
    assert read_bundle(world.stored[LEAVES[0]]["ca.crt"]) == (world.authority(), old)
    world.now += OVERLAP - timedelta(minutes=1)
    assert world.act() == {}
    world.now += timedelta(minutes=1)
    assert world.act() == dict.fromkeys(LEAVES, "authority renewed")
    assert world.leaf().signed_by(world.authority())
    assert world.act() == {}
    world.now = old.until
    world.act()
    assert read_bundle(world.stored[LEAVES[0]]["ca.crt"]) == (world.authority(),)


def test_an_authority_that_not_all_secrets_trust_signs_nothing_yet(world: World) -> None:
    """However old it is: whoever wrote it was stopped, and nobody has had the time to read the bundle."""
    leaf = world.leaf()
    new = make_authority(world.now, random.Random(7).randbytes)
    world.stored[CA_SECRET] = {"tls.crt": new.certificate, "tls.key": new.key, "ca.crt": new.certificate}
    world.now += 2 * OVERLAP
    assert world.act() == {CA_SECRET: "bundle", **dict.fromkeys(LEAVES, "bundle")}
    assert world.leaf() == leaf
    assert world.act() == dict.fromkeys(LEAVES, "authority renewed")


def test_who_was_away_for_years_finds_all_made_anew(world: World) -> None:
    """What has expired is nobody's to wait for."""
    world.now += AUTHORITY_LIFE * 2 / 3
    assert world.act() == {CA_SECRET: "due", **dict.fromkeys(LEAVES, "not valid now")}
    assert world.leaf().signed_by(world.authority())
    assert world.usable()


def test_a_lost_authority_is_made_anew_and_leaves_go_on(world: World) -> None:
    """What they trust is known from them."""
    leaf = world.leaf()
    del world.stored[CA_SECRET]
    assert world.act() == {CA_SECRET: "missing", **dict.fromkeys(LEAVES, "bundle")}
    assert world.leaf() == leaf
    assert world.usable()


@pytest.mark.parametrize("name", LEAVES)
def test_a_lost_leaf_is_made_anew_alone(world: World, name: str) -> None:
    """By the authority that all trust."""
    del world.stored[name]
    assert world.act() == {name: "missing"}
    assert world.usable()


def foreign(kind: str) -> dict[str, bytes]:
    """What somebody else may have put into a Secret."""
    randomness = random.Random(9).randbytes
    other = make_authority(NOW, randomness)
    leaf = make_leaf(other, MESH, NOW, randomness)
    past = make_authority(NOW - AUTHORITY_LIFE, randomness)
    future = make_authority(NOW + timedelta(days=30), randomness)
    return {
        "no keys": {"password": b"1234"},
        "empty": {},
        "noise": {"tls.crt": b"noise", "tls.key": b"noise", "ca.crt": b"noise"},
        "certificate alone": {"tls.crt": leaf.certificate},
        "another's key": {"tls.crt": leaf.certificate, "tls.key": other.key, "ca.crt": other.certificate},
        "leaf of another authority": {"tls.crt": leaf.certificate, "tls.key": leaf.key, "ca.crt": b""},
        "authority": {"tls.crt": other.certificate, "tls.key": other.key, "ca.crt": other.certificate},
        "past": {"tls.crt": past.certificate, "tls.key": past.key, "ca.crt": past.certificate},
        "future": {"tls.crt": future.certificate, "tls.key": future.key, "ca.crt": future.certificate},
    }[kind]


KINDS = (
    "no keys",
    "empty",
    "noise",
    "certificate alone",
    "another's key",
    "leaf of another authority",
    "authority",
    "past",
    "future",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [CA_SECRET, *LEAVES])
def test_what_is_of_somebody_else_is_replaced_and_nothing_beside_it(world: World, name: str, kind: str) -> None:
    """And other keys of that Secret are let be. An authority of somebody else is an authority."""
    others = {n: world.stored[n]["tls.crt"] for n in LEAVES if n != name}
    world.stored[name] = {"note": b"mine", **foreign(kind)}
    world.act()
    assert world.usable()
    assert world.stored[name]["note"] == b"mine"
    assert {n: world.stored[n]["tls.crt"] for n in others} == others
    assert world.act() == {}
    if name == CA_SECRET and kind == "authority":
        assert world.stored[name]["tls.crt"] == foreign(kind)["tls.crt"]


def test_a_leaf_of_another_role_is_no_leaf(world: World) -> None:
    """A mesh that holds the orchestrator's could load models."""
    world.stored[TLS_SECRETS[MESH]] = world.stored[TLS_SECRETS[ORCHESTRATOR]]
    assert identity(world.stored[TLS_SECRETS[MESH]], MESH, world.now) is None
    assert world.act() == {TLS_SECRETS[MESH]: "not of this role"}


@pytest.mark.parametrize("jump", [timedelta(days=-4000), timedelta(days=-2), timedelta(days=365), timedelta(days=9000)])
def test_a_clock_that_jumps_there_and_back(world: World, jump: timedelta) -> None:
    """At each time there is what is valid at that time, and the bundle does not grow without bound."""
    for turn in range(12):
        world.now = NOW + jump * (turn % 2)
        world.act()
        assert world.usable()
        assert world.act() == {}
    assert len(read_bundle(world.stored[CA_SECRET]["ca.crt"])) <= 4


def test_no_text_of_a_write_has_a_key() -> None:
    """Whatever is logged."""
    for write in plan({}, NOW, random.Random(1).randbytes):
        assert "PRIVATE" not in repr(write)
    world = World()
    world.act()
    assert "PRIVATE" not in repr(identity(world.stored[LEAVES[0]], ORCHESTRATOR, NOW))


@examples(15)
@given(
    steps=st.lists(st.timedeltas(timedelta(minutes=1), timedelta(days=9)), min_size=4, max_size=12),
    lost=st.integers(0, 12),
    lag=st.timedeltas(timedelta(0), timedelta(minutes=10)),
    seed=st.integers(0, 1000),
)
def test_who_reads_late_and_who_reads_early_trust_each_other(
    steps: list[timedelta], lost: int, lag: timedelta, seed: int
) -> None:
    """
    Through the renewal of leaves and authority, at whatever times it is looked at: old and new take each other.

    Losing the authority's Secret at whatever time does not change that.
    """
    world = World(NOW + AUTHORITY_LIFE * 2 / 3 - timedelta(days=15), seed)
    world.act()
    for number, step in enumerate(steps):
        world.now += step
        if number == lost:
            del world.stored[CA_SECRET]
        before = dict(world.stored)
        world.act()
        for one in LEAVES:
            for other in LEAVES:
                assert trusts(before[one], world.stored[other], world.now + lag)
                assert trusts(world.stored[one], before[other], world.now + lag)

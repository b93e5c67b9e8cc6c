"""
Certificates that are made anew while what crosses mutual TLS goes on.

A warm request crosses none. So two models that take each other's place are
asked all the time: each answer has had a demand of an activator's and commands
to an adapter before it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.cluster.balanced import Balanced
from tests.cluster.cold import cold
from tests.cluster.handover import steps
from tests.cluster.mounted import taken_up
from tests.cluster.product import Product
from tests.cluster.warm import NUMBER, answered, copies, own_runtime, settled, witnessed
from tests.standalone.models import Models
from tests.standalone.waiting import wait_until

AUTHORITY: Final = "wml-serving-ca"
CERTIFICATES: Final = tuple(f"wml-serving-{role}-tls" for role in ("orchestrator", "mesh", "adapter"))
RUNTIME: Final = "crowded"
#: Model → the prober that it is. One pod has no room for both.
MODELS: Final = {"crowded-0": 0, "crowded-1": 1}
RATE: Final = 8.0


@pytest.fixture(scope="module")
def crowd(warm: Product, models: Models) -> Iterator[Product]:
    """The two, in a pool of one pod."""
    first, second = (
        warm.model(m, models.uri(f"padded-{n}.joblib"), "sklearn", runtime=RUNTIME) for m, n in MODELS.items()
    )
    with warm.setting("podsPerRuntime", "1"), own_runtime(warm, RUNTIME, for_models_mib=8), first:
        warm.until_ready("crowded-0", within=180)
        with second:
            warm.until_ready("crowded-1")
            yield warm


@contextmanager
def nothing_is_lost(crowd: Product) -> Iterator[None]:
    """Raises AssertionError if a request was, if the warm model moved, or if one of the others is not loaded again in the end."""
    loaded = copies(crowd)
    with Balanced(crowd, *MODELS, rate=RATE) as witness, witnessed(crowd) as of_the_warm_one:
        for name, number in MODELS.items():
            witness.heard(name, number, within=60)
        yield
        known = steps(crowd.cluster)
        for name, number in MODELS.items():
            witness.heard(name, number, within=60)
        assert [s for s in steps(crowd.cluster) if s.loaded and s.model in MODELS and s not in known]
        answered(of_the_warm_one)
    witness.check()
    of_the_warm_one.check()
    assert copies(crowd) == loaded


def test_certificates_that_are_deleted_are_made_again(crowd: Product) -> None:
    """All three: what is connected stays so, and every pod goes on with the new ones, those to come as well."""
    cluster = crowd.cluster
    old = {secret: cluster.get("secret", secret)["data"]["tls.crt"] for secret in CERTIFICATES}
    with nothing_is_lost(crowd):
        cluster.delete("secret", *CERTIFICATES)
        for secret in CERTIFICATES:
            made = cluster.until("secret", secret, lambda _: True, "is not made again", within=150)
            assert made["data"]["tls.crt"] != old[secret]
        taken_up(crowd)
        with cold(crowd, "after-certificates") as ask:
            assert ask()().number == NUMBER


def test_an_authority_that_is_deleted_is_followed_by_another(crowd: Product) -> None:
    """With a role's certificate, which only a new authority can sign: both are trusted, and the others keep theirs."""
    cluster = crowd.cluster
    lost, *kept = CERTIFICATES
    old = {secret: cluster.get("secret", secret)["data"] for secret in (AUTHORITY, *CERTIFICATES)}
    with nothing_is_lost(crowd):
        cluster.delete("secret", AUTHORITY, lost)
        made = cluster.until("secret", AUTHORITY, bool, "is not made again", within=150)["data"]["tls.crt"]
        assert made != old[AUTHORITY]["tls.crt"]
        for secret in CERTIFICATES:
            data = cluster.until(
                "secret",
                secret,
                lambda o: o["data"]["ca.crt"] != old[AUTHORITY]["ca.crt"],
                "does not trust the new one",
                # It is made a minute later if the authority was just then made that it would have been signed by.
                within=150,
            )["data"]
            trusted = base64.b64decode(data["ca.crt"])
            assert trusted == base64.b64decode(made) + base64.b64decode(old[AUTHORITY]["ca.crt"])
            assert (data["tls.crt"] == old[secret]["tls.crt"]) == (secret in kept)
        taken_up(crowd)
        # Everybody connects anew, to one with a certificate that only the new authority has signed.
        before = crowd.holder()
        cluster.delete("pod", crowd.leader()["metadata"]["name"], wait=False)
        wait_until(lambda: crowd.holder() not in {"", before}, "nobody else leads")
        with cold(crowd, "after-authority") as ask:
            assert ask()().number == NUMBER
        settled(crowd)

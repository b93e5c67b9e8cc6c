"""
What the unit and contract tiers rely on of an API server, asked of this one.

Their tests run against a server of the tests' own. The same suites run here,
in a process where the real one can be reached: what they say of one, they say
of both.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
SUITES = ("real_api.py", "real_desired.py", "real_pools.py")


@pytest.mark.parametrize("suite", SUITES)
def test_the_api_server_does_what_the_tests_own_does(bare: Cluster, suite: str) -> None:
    """Objects, lists, watches, an election; statuses, events, schemas; pools, admission, owners of fields."""
    bare.apply(*sorted((ROOT / "manifests").glob("*-crd.yaml")))
    path = ROOT / "tests" / "orchestrator" / "platform" / "kube" / suite
    said = bare.python("-m", "pytest", "-q", str(path), timeout=240.0)
    assert " passed" in said

"""A thousand models: each gets its status, nobody writes more than there is to say, and memory stays in bounds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import condition_of
from tests.cluster.product import ORCHESTRATOR, Product, trained_model
from tests.standalone.models import Models
from tests.standalone.waiting import wait_until

MODELS = 1_000
LABEL = "scale=thousand"
#: Of a process that is to have less than 300 MB.
MOST_BYTES = 300_000_000
_WRITES = re.compile(
    r'^apiserver_request_total\{.*code="2\d\d".*resource="trainedmodels".*subresource="status".*verb="PATCH".*\} (\S+)$',
    re.MULTILINE,
)


@pytest.fixture
def thousand(product: Product, models: Models) -> Iterator[list[str]]:
    """The names of a thousand models that are applied at once; they are gone afterwards."""
    made = [trained_model(f"scale-{n:04}", models.sample("sklearn"), "sklearn") for n in range(MODELS)]
    for each in made:
        key, _, value = LABEL.partition("=")
        each["metadata"]["labels"] = {key: value}
    try:
        # Created and not applied: a third of the requests, and the same for who watches.
        product.cluster.kubectl(
            "create", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": made}), timeout=240
        )
        yield [each["metadata"]["name"] for each in made]
    finally:
        product.cluster.kubectl("delete", "trainedmodels", "-l", LABEL, "--wait=false", timeout=240)
        wait_until(
            lambda: not product.cluster.all("trainedmodels", LABEL), "the thousand are not gone", within=120, poll=1.0
        )


def writes(product: Product) -> float:
    """How often a status was written so far, as the API server counts."""
    return sum(map(float, _WRITES.findall(product.cluster.kubectl("get", "--raw", "/metrics"))))


def changes(product: Product) -> int:
    """How many changes of a status all replicas say that they told."""
    said = product.cluster.logs_of(ORCHESTRATOR)
    return sum(json.loads(line)["event"] == "trained_model_changed" for line in said.splitlines())


def resident_bytes(product: Product, pod: str) -> int:
    """Of the orchestrator in that pod."""
    status = product.cluster.execute(pod, "cat", "/proc/1/status")
    return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024


@pytest.mark.timeout(900)
def test_a_thousand_models(product: Product, request: pytest.FixtureRequest) -> None:
    """All of them ready, with one write a change, and an orchestrator that stays small."""
    written, told = writes(product), changes(product)
    names = request.getfixturevalue("thousand")

    def unready() -> list[str]:
        found = product.cluster.all("trainedmodels", LABEL)
        ready = {o["metadata"]["name"] for o in found if condition_of(o, "Ready").get("status") == "True"}
        return [name for name in names if name not in ready]

    wait_until(lambda: not unready(), lambda: f"not ready: {unready()[:5]}", within=300, poll=2.0)
    assert writes(product) - written <= changes(product) - told
    for pod in product.cluster.pods(ORCHESTRATOR):
        assert resident_bytes(product, pod["metadata"]["name"]) < MOST_BYTES

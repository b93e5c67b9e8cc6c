"""
Many TrainedModels at once, and what they cost: writes of statuses, and memory of an orchestrator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.cluster.cluster import condition_of
from tests.cluster.product import ORCHESTRATOR, Product, trained_model
from tests.standalone.waiting import wait_until

_LABEL: Final = "scale=many"
_WRITES: Final = re.compile(
    r'^apiserver_request_total\{.*code="2\d\d".*resource="trainedmodels".*subresource="status".*verb="PATCH".*\} (\S+)$',
    re.MULTILINE,
)


@contextmanager
def many(product: Product, number: int) -> Iterator[None]:
    """So many models of one object, created at once; they are gone afterwards."""
    made = [trained_model(f"scale-{n:04}", product.models.sample("sklearn"), "sklearn") for n in range(number)]
    for each in made:
        key, _, value = _LABEL.partition("=")
        each["metadata"]["labels"] = {key: value}
    try:
        # Created and not applied: a third of the requests, and the same for who watches.
        product.cluster.kubectl(
            "create", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": made}), timeout=240
        )
        yield
    finally:
        product.cluster.kubectl("delete", "trainedmodels", "-l", _LABEL, "--wait=false", timeout=240)
        wait_until(
            lambda: not product.cluster.all("trainedmodels", _LABEL), "the models are not gone", within=120, poll=1.0
        )


def until_ready(product: Product, number: int, *, within: float) -> None:
    """Return once all of them are."""

    def missing() -> int:
        found = product.cluster.all("trainedmodels", _LABEL)
        ready = [each for each in found if condition_of(each, "Ready").get("status") == "True"]
        return number - len(ready)

    wait_until(lambda: not missing(), lambda: f"{missing()} of {number} are not ready", within=within, poll=1.0)


def status_writes(product: Product) -> float:
    """How often a status was written so far, as the API server counts."""
    return sum(map(float, _WRITES.findall(product.cluster.kubectl("get", "--raw", "/metrics"))))


def status_changes(product: Product) -> int:
    """How many changes of a status all replicas say that they told."""
    said = product.cluster.logs_of(ORCHESTRATOR)
    return sum(json.loads(line)["event"] == "trained_model_changed" for line in said.splitlines())


def resident_bytes(product: Product, pod: str) -> int:
    """Of the orchestrator in that pod."""
    status = product.cluster.execute(pod, "cat", "/proc/1/status")
    return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024

"""A thousand models: each gets its status, nobody writes more than there is to say, and memory stays in bounds."""

from __future__ import annotations

import pytest

from tests.cluster.many import many, resident_bytes, status_changes, status_writes, until_ready
from tests.cluster.product import ORCHESTRATOR, Product
from tests.standalone.waiting import wait_until

MODELS = 1_000
#: Of a process that is to have less than 300 MB.
MOST_BYTES = 300_000_000


@pytest.mark.timeout(900)
def test_a_thousand_models(product: Product) -> None:
    """All of them ready, with one write a change, and an orchestrator that stays small."""
    with status_changes(product) as changes:
        # After what is followed from: a write between the two is no write without a change.
        written = status_writes(product)
        with many(product, MODELS):
            until_ready(product, MODELS, within=300)
            more = status_writes(product) - written
            assert more >= MODELS
            # What was written is seen a little later.
            wait_until(lambda: changes() >= more, lambda: f"{more} writes, and {changes()} changes are seen", poll=1)
            for pod in product.cluster.pods(ORCHESTRATOR):
                assert resident_bytes(product, pod["metadata"]["name"]) < MOST_BYTES

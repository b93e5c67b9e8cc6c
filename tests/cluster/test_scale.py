"""A thousand models: each gets its status, nobody writes more than there is to say, and memory stays in bounds."""

from __future__ import annotations

import pytest

from tests.cluster.many import many, resident_bytes, status_changes, status_writes, until_ready
from tests.cluster.product import ORCHESTRATOR, Product

MODELS = 1_000
#: Of a process that is to have less than 300 MB.
MOST_BYTES = 300_000_000


@pytest.mark.timeout(900)
def test_a_thousand_models(product: Product) -> None:
    """All of them ready, with one write a change, and an orchestrator that stays small."""
    written, told = status_writes(product), status_changes(product)
    with many(product, MODELS):
        until_ready(product, MODELS, within=300)
        assert status_writes(product) - written <= status_changes(product) - told
        for pod in product.cluster.pods(ORCHESTRATOR):
            assert resident_bytes(product, pod["metadata"]["name"]) < MOST_BYTES

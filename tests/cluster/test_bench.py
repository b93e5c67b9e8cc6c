"""What `make bench` measures of a cluster can be measured: next to nothing of it, and no figure is judged."""

from __future__ import annotations

from tests.bench import on_cluster
from tests.bench.world import QUICK
from tests.cluster.product import Product


def test_the_cluster_can_be_measured(product: Product) -> None:
    """Each model came to be READY, another led when the leader was killed, and both orchestrators were weighed."""
    measured = on_cluster.measured(product, QUICK)
    assert len(measured.cold) == QUICK.cold_pools
    assert len(measured.warm) == QUICK.files
    assert len(measured.failover) == len(measured.failover_ready) == QUICK.failovers
    assert measured.models == QUICK.on_cluster
    assert all(seconds > 0 for seconds in (*measured.cold, *measured.warm, *measured.failover, measured.models_s))
    assert len(measured.memory) == 2
    assert all(memory > 0 for memory in measured.memory)

"""What an Envoy's load report says of models."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.endpoint.v3 import load_report_pb2
from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf.duration_pb2 import Duration

from orchestrator.mesh.load_reports import to_rates


def cluster(name: str, *localities: tuple[int, int], seconds: int = 10) -> Any:
    """With requests issued and under way, a pair a locality."""
    return load_report_pb2.ClusterStats(
        cluster_name=name,
        load_report_interval=Duration(seconds=seconds),
        upstream_locality_stats=[
            load_report_pb2.UpstreamLocalityStats(total_issued_requests=issued, total_requests_in_progress=under_way)
            for issued, under_way in localities
        ],
    )


@pytest.mark.parametrize(
    ("stats", "rates"),
    [
        ([], {}),
        ([cluster("model/m", (40, 0))], {"m": 4.0}),
        # Holders and the activator are localities of their own.
        ([cluster("model/m", (40, 0), (10, 1)), cluster("model/n", (5, 0))], {"m": 5.0, "n": 0.5}),
        ([cluster("model/m", (0, 3))], {"m": 0.0}),
        ([cluster("model/m"), cluster("model/n", (0, 0))], {}),
        # Not a model's.
        ([cluster("activator", (40, 0)), cluster("xds", (1, 1))], {}),
        # An interval that is none divides nothing.
        ([cluster("model/m", (40, 0), seconds=0)], {"m": 0.0}),
    ],
)
def test_rates_are_of_what_was_asked_for(stats: list[Any], rates: dict[str, float]) -> None:
    """Idle models, which are most of them, are not in it."""
    assert to_rates(lrs_pb2.LoadStatsRequest(cluster_stats=stats)) == rates

"""A first request is split by what the adapter reports of its copy; nothing is lost in between."""

from __future__ import annotations

from tests.bench.cold import Cold, split
from tests.bench.loader import Measured


def test_a_request_is_split() -> None:
    """Seconds become milliseconds, in the order of asking; what is neither download nor load is ours."""
    asked = Measured(
        requests=2, rate=1.0, p50=20.0, p90=30.0, p99=30.0, longest=30.0, each={"b": 30.0, "a": 20.0}, cpu={}
    )
    models = {
        "a": {"live": {"copies": [{"downloadSeconds": 0.004, "loadSeconds": 0.01}]}},
        "b": {"live": {"copies": [{"downloadSeconds": 0.008, "loadSeconds": 0.02}]}},
    }
    cold = split("some", ["a", "b"], asked, models)
    assert cold == Cold(server="some", total=(20.0, 30.0), download=(4.0, 8.0), load=(10.0, 20.0))
    assert cold.ours == (6.0, 2.0)

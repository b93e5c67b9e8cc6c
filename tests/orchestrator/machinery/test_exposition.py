"""What Prometheus reads is what was counted."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.machinery.exposition import CONTENT_TYPE, exposition
from orchestrator.machinery.figures import Counter, Figure, Timing, gauge, gauges
from orchestrator.machinery.queue_metrics import QueueMetrics


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels, as a scrape understands them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_each_kind_is_read_back() -> None:
    """Counters get their suffix, histograms their buckets, labels with quotes survive."""
    loads = Counter("wml_loads", "Loads.", "runtime")
    loads.add('odd "one"\n')
    seconds = Timing("wml_load_seconds", "Seconds.", "runtime", bounds=(0.5, 1.0))
    for each in (0.4, 0.5, 0.9, 7.0):
        seconds.observe(each, "triton-2.x")
    read = samples(
        exposition(
            [
                loads.read(),
                seconds.read(),
                gauge("wml_leader", "Leads.", 1),
                gauges("wml_pods", "Pods.", ("runtime",), {("triton-2.x",): 2}),
            ]
        )
    )
    triton = ("runtime", "triton-2.x")
    expected = {
        ("wml_loads_total", (("runtime", 'odd "one"\n'),)): 1,
        ("wml_load_seconds_bucket", (("le", "0.5"), triton)): 2,
        ("wml_load_seconds_bucket", (("le", "1.0"), triton)): 3,
        ("wml_load_seconds_bucket", (("le", "+Inf"), triton)): 4,
        ("wml_load_seconds_count", (triton,)): 4,
        ("wml_load_seconds_sum", (triton,)): 8.8,
        ("wml_leader", ()): 1,
        ("wml_pods", (triton,)): 2,
    }
    assert {key: read.get(key) for key in expected} == expected
    assert CONTENT_TYPE.startswith("text/plain")


def test_the_process_is_in_it_each_time() -> None:
    """Its memory now, whatever else is counted."""
    for _ in range(2):
        assert samples(exposition([]))["process_resident_memory_bytes", ()] > 1 << 20


def test_queues_of_one_process_go_together() -> None:
    """Their metrics have one name, and the queue's as a label."""
    queues = QueueMetrics[str]("controller"), QueueMetrics[str]("pools")
    queues[1].added("a", 0.0)
    read = samples(exposition(figure for queue in queues for figure in queue.figures(1.0)))
    assert read["workqueue_depth", (("name", "controller"),)] == 0
    assert read["workqueue_depth", (("name", "pools"),)] == 1


def test_two_of_one_name_are_refused() -> None:
    """Whoever adds a figure notices at once."""
    with pytest.raises(ValueError, match="wml_leader"):
        exposition([gauge("wml_leader", "Leads.", 1), gauge("wml_leader", "Leads.", 0)])
    with pytest.raises(ValueError, match="wml_pods"):
        exposition([gauge("wml_pods", "Pods.", 1), gauges("wml_pods", "Pods.", ("runtime",), {("triton-2.x",): 2})])


@pytest.mark.parametrize(
    "figure",
    [
        Figure(name="a", help="A.", kind="histogram", samples={(): 1.0}),
        Figure(name="a", help="A.", kind="gauge", samples=Timing("b", "B.", bounds=(1.0,)).read().samples),
    ],
)
def test_a_kind_that_does_not_fit_its_samples_is_refused(figure: Figure) -> None:
    """A mistake of the programmer."""
    with pytest.raises(TypeError, match="histogram"):
        exposition([figure])

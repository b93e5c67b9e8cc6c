"""What is asked of the API server, as a scrape reads it."""

from __future__ import annotations

from orchestrator.platform.kube.counts import KubeCounts


def test_an_answer_that_did_not_come_counts_beside_those_that_did() -> None:
    """By verb and status."""
    counts = KubeCounts()
    for status in (200, 200, 409, None):
        counts.requested("patch", status)
    requests = counts.figures()[0]
    assert (requests.name, requests.labels) == ("wml_kube_requests", ("verb", "code"))
    assert requests.samples == {("patch", "200"): 2, ("patch", "409"): 1, ("patch", "unreachable"): 1}


def test_lists_again_and_the_ends_of_certificates_are_shown() -> None:
    """The latest word on each certificate."""
    counts = KubeCounts()
    counts.relisted("trainedmodels")
    counts.expires("mesh", 1.0)
    counts.expires("mesh", 2.0)
    assert [figure.samples for figure in counts.figures()[1:]] == [{("trainedmodels",): 1}, {("mesh",): 2.0}]

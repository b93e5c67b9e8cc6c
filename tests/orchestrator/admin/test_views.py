"""A model as the admin API shows it."""

from __future__ import annotations

from orchestrator.admin.term_view import Use
from orchestrator.admin.views import live_view, object_view
from orchestrator.domain.fleet import CopyState
from orchestrator.domain.trained_model import parse_trained_model, render_status
from tests.orchestrator.builders import make_condition, make_copy, make_model, make_raw_model, make_status, make_view

STATUS = make_status(make_condition(), active="r1", url="u")


def test_the_object_is_as_it_was_written_with_what_the_platform_filled_in() -> None:
    """Labels and annotations are kept; uid, generation, time and status are ours; it reads as the same model."""
    raw = make_raw_model()
    raw["metadata"] = {"name": "digits", "labels": {"team": "vision"}}
    model = make_model(raw=raw, status=STATUS)
    view = object_view(model)
    assert view["metadata"] == {
        "name": "digits",
        "labels": {"team": "vision"},
        "namespace": "wml-serving",
        "uid": "uid-digits",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    assert view["spec"] == raw["spec"]
    assert view["status"] == render_status(STATUS)
    assert parse_trained_model(view) == model
    assert "uid" not in raw["metadata"]


def test_the_live_state_is_where_the_copies_are() -> None:
    """By the pods' names; by uid where a pod has just gone. And how it is used."""
    copies = (make_copy(reserved=5, download_s=1.5), make_copy(CopyState.LOADING, pod="p2", reserved=0))
    assert live_view(copies, {"p1": make_view("p1")}, Use(idle_s=9.5, requests_per_s=0.5)) == {
        "idleSeconds": 9.5,
        "requestsPerSecond": 0.5,
        "copies": [
            {
                "pod": "pod-p1",
                "revision": "r1",
                "state": "Loaded",
                "reservedBytes": 5,
                "downloadSeconds": 1.5,
                "loadSeconds": None,
            },
            {
                "pod": "p2",
                "revision": "r1",
                "state": "Loading",
                "reservedBytes": 0,
                "downloadSeconds": None,
                "loadSeconds": None,
            },
        ],
    }

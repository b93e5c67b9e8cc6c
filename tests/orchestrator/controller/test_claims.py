"""Who waits for which room."""

from __future__ import annotations

from orchestrator.controller.claims import LASTS_S, Claims


def test_others_claims_in_the_pod_count() -> None:
    """Not one's own, nor those in another pod; a model has one claim, the last."""
    claims = Claims()
    claims.make("a", "p1", 10, 0.0)
    claims.make("b", "p1", 20, 0.0)
    claims.make("c", "p2", 40, 0.0)
    assert [claims.others(model, "p1", 1.0) for model in ("a", "b", "c")] == [20, 10, 30]
    claims.make("a", "p2", 5, 1.0)
    assert claims.others("b", "p1", 1.0) == 0
    assert claims.others("c", "p2", 1.0) == 5


def test_a_claim_ends_with_its_load_or_lapses() -> None:
    """Who gave up waiting tells nobody, and is not waited for."""
    claims = Claims()
    claims.make("a", "p1", 10, 0.0)
    claims.make("b", "p1", 20, 1.0)
    claims.end("b")
    claims.end("never")
    assert claims.others("x", "p1", 1.0) == 10
    assert claims.others("x", "p1", LASTS_S) == 0

"""Desired state: exactly what changed is named, and the newest status is on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.controller import desired as desired_module
from orchestrator.controller.desired import DesiredState
from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.target import Target, resolve
from orchestrator.domain.trained_model import TrainedModel
from tests.orchestrator.builders import make_condition, make_model, make_runtime, make_status
from tests.orchestrator.controller.bench import secret

RUNTIMES = {"mlserver-0.x": make_runtime()}
STATUS = make_status(make_condition(), active="r1")


def deliver(
    desired: DesiredState,
    *models: TrainedModel,
    runtimes: Mapping[str, ServingRuntime] | None = None,
    storage: StorageConfig | None = None,
) -> frozenset[str]:
    return desired.replace(
        models={m.name: m for m in models},
        runtimes=RUNTIMES if runtimes is None else runtimes,
        storage=storage or secret(),
        config={},
    )


variants = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3))


@given(st.lists(variants, min_size=1, max_size=5))
def test_a_listing_names_what_is_new_changed_or_gone_and_nothing_else(listings: list[dict[str, int]]) -> None:
    """Against the plainest comparison of two listings."""
    desired, before = DesiredState(), dict[str, int]()
    for listing in listings:
        changed = deliver(desired, *(make_model(n, generation=g) for n, g in listing.items()))
        assert changed == {n for n in listing.keys() | before.keys() if listing.get(n) != before.get(n)}
        assert desired.synced
        assert {n: m.generation for n in listing if (m := desired.model(n)) is not None} == listing
        before = listing


@given(st.lists(variants, min_size=2, max_size=5))
def test_changes_come_to_the_same_as_listings(listings: list[dict[str, int]]) -> None:
    """Name for name, whatever the order; who is told of what did not change has no work from it."""
    whole, parts = DesiredState(), DesiredState()
    first, *others = ([make_model(n, generation=g) for n, g in listing.items()] for listing in listings)
    assert deliver(whole, *first) == deliver(parts, *first)
    for models in others:
        told: dict[str, TrainedModel | None] = dict.fromkeys(parts.models)
        told |= {m.name: m for m in models}
        assert parts.change(told) == deliver(whole, *models)
        assert parts.models == whole.models
        assert [parts.target(n) for n in "abcd"] == [whole.target(n) for n in "abcd"]


def test_a_change_costs_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand models one is compared, and one is resolved anew."""
    desired = DesiredState()
    deliver(desired, *(make_model(f"m{n}") for n in range(1000)))
    for name in desired.models:
        desired.target(name)
    compared: list[str] = []
    unchanged = desired_module._unchanged

    def counted(one: TrainedModel | None, other: TrainedModel | None) -> bool:
        compared.extend(m.name for m in (one,) if m is not None)
        return unchanged(one, other)

    monkeypatch.setattr(desired_module, "_unchanged", counted)
    before = dict(desired._targets)
    assert desired.change({"m1": make_model("m1", generation=2)}) == {"m1"}
    assert compared == ["m1"]
    assert before.keys() - desired._targets.keys() == {"m1"}
    assert desired.change({"m2": None}) == {"m2"}
    assert desired.change({"m2": None}) == frozenset()
    assert "m2" not in desired.models


def test_a_listing_that_was_given_is_not_changed() -> None:
    """It is its giver's."""
    desired, given_models = DesiredState(), {"a": make_model("a")}
    desired.replace(models=given_models, runtimes=RUNTIMES, storage=secret(), config={})
    desired.change({"a": None, "b": make_model("b")})
    assert given_models.keys() == {"a"}


def test_the_raw_object_alone_is_no_change() -> None:
    """A label is nobody's business here; it is shown all the same."""
    desired = DesiredState()
    deliver(desired, make_model("a"))
    assert deliver(desired, make_model("a", raw={"metadata": {"labels": {"x": "y"}}})) == frozenset()
    assert desired.models["a"].raw != {}


def test_a_change_of_the_secret_concerns_those_that_use_it() -> None:
    """And no others: not who has no key in it, not who is broken in the same way as before."""
    desired = DesiredState()
    models = (make_model("a"), make_model("b", secret_key="other"), make_model("c", storage_uri="x"))
    deliver(desired, *models)
    assert isinstance(desired.target("a"), Target)
    for name, reason in (("b", Reason.STORAGE_KEY_NOT_FOUND), ("c", Reason.INVALID_STORAGE_URI)):
        problem = desired.target(name)
        assert isinstance(problem, ModelProblem)
        assert problem.reason is reason
    assert deliver(desired, *models) == frozenset()
    assert deliver(desired, *models, storage=secret(secret_access_key="second")) == {"a"}
    target = desired.target("a")
    assert isinstance(target, Target)
    assert target.credentials.secret_access_key == "second"


def test_a_change_of_the_runtimes_concerns_those_that_resolve_otherwise() -> None:
    """Their message is new, or their runtime is."""
    desired = DesiredState()
    models = (make_model("a"), make_model("b", framework="onnx"))
    deliver(desired, *models)
    assert {desired.target(n) is not None for n in "ab"} == {True}
    triton = make_runtime("triton-2.x", frameworks=("onnx",), auto_select=frozenset({"onnx"}))
    assert deliver(desired, *models, runtimes=RUNTIMES | {"triton-2.x": triton}) == {"b"}
    assert isinstance(desired.target("b"), Target)
    assert deliver(desired, *models, runtimes={"triton-2.x": triton}) == {"a"}
    assert isinstance(desired.target("a"), ModelProblem)


def test_a_last_good_revision_that_can_be_made_again_is_a_change() -> None:
    """Its key is back in the Secret; what is asked for now has another, and is as it was."""
    keys = {name: secret().entries["default"] for name in ("old", "new")}
    model = make_model("a", secret_key="new", storage_uri="s3://models/next")
    good = resolve(make_model("a", secret_key="old"), RUNTIMES.values(), StorageConfig(keys))
    status = make_status(
        active=good.revision,
        active_framework="sklearn",
        active_runtime="mlserver-0.x",
        active_secret_key="old",
    )
    model = replace(model, status=replace(status, active_storage_uri="s3://models/a"))
    desired = DesiredState()
    deliver(desired, model, storage=StorageConfig({"new": keys["new"]}))
    assert isinstance(desired.target("a"), Target)
    assert desired.last_good("a") is None
    assert deliver(desired, model, storage=StorageConfig(keys)) == {"a"}
    assert desired.last_good("a") == good
    assert deliver(desired, model, storage=StorageConfig(keys)) == frozenset()


def test_who_goes_while_the_secret_changes_is_named_once_and_forgotten() -> None:
    """No target is resolved for it any more."""
    desired = DesiredState()
    deliver(desired, make_model("a"), make_model("b"))
    assert desired.target("a") is not None
    assert deliver(desired, make_model("b"), storage=secret(region="r")) == {"a"}
    assert desired.target("a") is None
    assert desired.model("a") is None


def test_a_status_that_was_written_is_seen_before_its_echo() -> None:
    """A decision is not made on the older one; the echo is no news."""
    desired = DesiredState()
    deliver(desired, make_model("a"))
    desired.status_written("a", "uid-a", STATUS)
    assert desired.model("a") == make_model("a", status=STATUS)
    deliver(desired, make_model("a", generation=2))
    assert desired.model("a") == make_model("a", generation=2, status=STATUS)
    assert deliver(desired, make_model("a", generation=2, status=STATUS)) == frozenset()
    assert desired.model("a") == make_model("a", generation=2, status=STATUS)


def test_another_object_of_the_name_starts_with_its_own_status() -> None:
    """And a status that was still being written for the old one is nobody's."""
    desired = DesiredState()
    deliver(desired, make_model("a"))
    desired.status_written("a", "uid-a", STATUS)
    deliver(desired, make_model("a", uid="second"))
    assert desired.model("a") == make_model("a", uid="second")
    desired.status_written("a", "uid-a", STATUS)
    assert desired.model("a") == make_model("a", uid="second")
    desired.status_written("a", "second", STATUS)
    desired.change({"a": make_model("a", uid="third")})
    assert desired.model("a") == make_model("a", uid="third")
    deliver(desired)
    desired.status_written("a", "second", STATUS)
    assert desired._echoes == {}


def test_a_status_of_somebody_elses_is_news_and_counts_for_nothing() -> None:
    """Ours does; not news is the echo of any that was sent from here, however late, and what was there all along."""
    desired = DesiredState()
    older, foreign = make_status(make_condition("Ready", "False", "Loading")), make_status(active="theirs")
    deliver(desired, make_model("a"))
    for status in (older, STATUS):
        desired.status_sent("a", "uid-a", status)
        desired.status_written("a", "uid-a", status)
    assert deliver(desired, make_model("a", generation=2)) == {"a"}
    for status in (older, STATUS):
        assert desired.change({"a": make_model("a", generation=2, status=status)}) == frozenset()
    assert not desired.overwritten("a")
    assert desired.change({"a": make_model("a", generation=2, status=foreign)}) == {"a"}
    assert desired.overwritten("a")
    assert desired.model("a") == make_model("a", generation=2, status=STATUS)
    assert deliver(desired, make_model("a", generation=2, status=foreign)) == frozenset()
    # It is put right, by us or by whoever it was.
    desired.status_sent("a", "uid-a", STATUS)
    assert not desired.overwritten("a")
    assert deliver(desired, make_model("a", generation=2, status=older)) == {"a"}
    assert deliver(desired, make_model("a", generation=2, status=STATUS)) == frozenset()


def test_a_status_that_was_there_before_us_is_ours_until_we_tell_another() -> None:
    """Of a leader before; what comes over it is not."""
    desired = DesiredState()
    deliver(desired, make_model("a", status=STATUS))
    assert deliver(desired, make_model("a", status=make_status())) == {"a"}
    assert desired.model("a") == make_model("a", status=STATUS)
    deliver(desired, make_model("a", uid="second", status=make_status()))
    assert desired.model("a") == make_model("a", uid="second", status=make_status())
    assert not desired.overwritten("a")


@pytest.mark.parametrize("listed", [True, False])
def test_what_was_deleted_and_is_held_is_absent_but_for_its_status(listed: bool) -> None:
    """News once; what was told of it is seen before its echo, and it is gone with whoever held it."""
    desired, held = DesiredState(), make_model("a", status=STATUS, held_by="x")

    def take(*models: TrainedModel) -> frozenset[str]:
        if listed:
            return deliver(desired, *models)
        return desired.change(dict.fromkeys("a") | {m.name: m for m in models})

    deliver(desired, make_model("a", status=STATUS))
    assert take(held) == {"a"}
    assert (desired.model("a"), desired.models, desired.target("a"), desired.held("a")) == (None, {}, None, held)
    assert take(held) == frozenset()
    desired.status_written("a", "uid-a", make_status())
    assert desired.held("a") == replace(held, status=make_status())
    assert take() == {"a"}
    assert desired.held("a") is None

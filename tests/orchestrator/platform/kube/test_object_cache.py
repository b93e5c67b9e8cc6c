"""The fold of lists and watch events: what is news, what is kept, and what somebody said to be deleted."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.trained_model import TrainedModel
from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube import object_cache as cache_module
from orchestrator.platform.kube.object_cache import Kind, News, ObjectCache
from orchestrator.platform.kube.objects import read_model
from tests.orchestrator.builders import make_raw_model

NOTHING = News(models={}, deleted=(), common=False)
TRITON = "triton-2.x"


def model(name: str = "a", *, version: int = 1, uid: str = "", **metadata: Any) -> dict[str, Any]:
    raw = make_raw_model(name, storageUri=f"s3://b/{version}")
    raw["metadata"] |= {"resourceVersion": str(version), "uid": uid or f"uid-{name}", "generation": version} | metadata
    return raw


def broken(name: str = "a", *, version: int = 1, uid: str = "") -> dict[str, Any]:
    """Let through by the definition."""
    raw = model(name, version=version, uid=uid)
    raw["spec"]["model"]["memory"] = "-1"
    return raw


def runtime(name: str = TRITON, *, version: int = 1, uid: str = "u", **spec: Any) -> dict[str, Any]:
    raw = builtin_manifests()[TRITON]
    return {
        **raw,
        "metadata": {"name": name, "uid": uid, "resourceVersion": str(version), "generation": version},
        "spec": raw["spec"] | spec,
    }


def secret(text: str) -> dict[str, Any]:
    data = {"k": base64.b64encode(text.encode()).decode()}
    return {"metadata": {"name": "storage-config", "resourceVersion": text}, "data": data}


def names(news: News) -> dict[str, bool]:
    """Whether each that is named is there."""
    return {name: value is not None for name, value in news.models.items()}


def test_an_object_that_nobody_expected_is_its_own_trouble_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last good definition stays, and the others are read."""

    def read(raw: Any, api_version: str) -> TrainedModel:
        if raw["metadata"]["name"] == "odd" and raw["metadata"]["resourceVersion"] == "2":
            raise TypeError("whatever")
        return read_model(raw, api_version)

    monkeypatch.setattr(cache_module, "read_model", read)
    cache = ObjectCache()
    cache.replace(Kind.MODEL, [model("odd"), model("a")])
    cache.replace(Kind.MODEL, [model("odd", version=2), model("a", version=2)])
    assert [cache.models[name].storage_uri for name in ("odd", "a")] == ["s3://b/1", "s3://b/2"]
    (problem,) = cache.problems.values()
    assert str(problem).startswith("TrainedModel 'odd': internal error of the orchestrator (TypeError in read:")
    cache.event(Kind.MODEL, "MODIFIED", model("odd", version=3))
    assert not cache.problems


def test_lists_and_events_come_to_a_state() -> None:
    """Each kind in its place; what was told is told once."""
    cache = ObjectCache()
    cache.replace(Kind.MODEL, [model("a"), model("b")])
    cache.replace(Kind.RUNTIME, [runtime()])
    cache.replace(Kind.SECRET, [secret("s")])
    cache.replace(Kind.CONFIG, [{"metadata": {"name": "wml-serving-config"}, "data": {"x": "y"}}])
    news = cache.news()
    assert (names(news), news.common, news.deleted) == ({"a": True, "b": True}, True, ())
    assert cache.runtimes.keys() == {TRITON}
    assert cache.config == {"x": "y"}
    assert cache.storage is not None
    assert cache.storage.entries == {"k": "s"}
    assert cache.news() == NOTHING
    cache.event(Kind.MODEL, "MODIFIED", model("a", version=2))
    news = cache.news()
    assert (names(news), news.common) == ({"a": True}, False)
    cache.event(Kind.SECRET, "DELETED", secret("s"))
    cache.event(Kind.CONFIG, "DELETED", {"metadata": {"name": "wml-serving-config"}})
    assert cache.news().common
    assert (cache.storage is None, dict(cache.config)) == (True, {})


def test_the_same_version_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a thousand after an hour costs the one that changed."""
    cache = ObjectCache()
    cache.replace(Kind.MODEL, [model(f"m{n}") for n in range(1000)])
    cache.news()
    read: list[str] = []

    def counted(raw: dict[str, Any], version: str) -> TrainedModel:
        read.append(raw["metadata"]["name"])
        return read_model(raw, version)

    monkeypatch.setattr(cache_module, "read_model", counted)
    cache.replace(Kind.MODEL, [model("m0", version=2), *(model(f"m{n}") for n in range(1, 1000))])
    assert (read, names(cache.news())) == (["m0"], {"m0": True})


def test_deleted_is_what_somebody_said() -> None:
    """An event, or the object itself; not what is merely missing in a list (law 9)."""
    cache = ObjectCache()
    cache.replace(Kind.MODEL, [model(name) for name in "abc"] + [model("d", deletionTimestamp="t")])
    news = cache.news()
    assert (names(news), news.deleted) == ({"a": True, "b": True, "c": True}, (("d", "uid-d"),))
    cache.event(Kind.MODEL, "DELETED", model("a", version=5))
    cache.event(Kind.MODEL, "MODIFIED", model("b", version=6, deletionTimestamp="t"))
    news = cache.news()
    assert names(news) == {"a": False, "b": False}
    assert set(news.deleted) == {("a", "uid-a"), ("b", "uid-b")}
    # The finalizer goes: that has been said.
    cache.event(Kind.MODEL, "DELETED", model("b", version=7, deletionTimestamp="t"))
    assert cache.news() == NOTHING
    cache.replace(Kind.MODEL, [])
    news = cache.news()
    assert (names(news), news.deleted) == ({"c": False}, ())


def test_what_is_deleted_and_held_is_there_to_be_told_so() -> None:
    """With whoever holds it; that it was deleted is said, and no more when it is gone. Unreadable, it is gone at once."""
    cache = ObjectCache()
    going: dict[str, Any] = {"deletionTimestamp": "t", "finalizers": ["example.com/x", "example.com/y"]}
    cache.replace(Kind.MODEL, [model("a"), model("b"), {**model("c", **going), "spec": None}])
    cache.event(Kind.MODEL, "MODIFIED", model("b", version=2, **going))
    news = cache.news()
    assert {name: m.held_by for name, m in news.models.items() if m is not None} == {
        "a": "",
        "b": "example.com/x, example.com/y",
    }
    assert set(news.deleted) == {("b", "uid-b"), ("c", "uid-c")}
    cache.event(Kind.MODEL, "DELETED", model("b", version=3, **going))
    news = cache.news()
    assert (names(news), news.deleted) == ({"b": False}, ())


def test_a_name_that_comes_back_is_another_object() -> None:
    """In one turn it is one change; the old one's end was said, or was not."""
    cache = ObjectCache()
    cache.replace(Kind.MODEL, [model("a"), model("b")])
    cache.news()
    cache.event(Kind.MODEL, "DELETED", model("a", version=2))
    cache.event(Kind.MODEL, "ADDED", model("a", version=3, uid="second"))
    news = cache.news()
    assert (news.deleted, names(news)) == ((("a", "uid-a"),), {"a": True})
    cache.replace(Kind.MODEL, [model("a", version=3, uid="second"), model("b", version=9, uid="restored")])
    news = cache.news()
    assert (news.deleted, [m.uid for m in news.models.values() if m]) == ((), ["restored"])


def test_a_model_that_cannot_be_read_keeps_what_it_was_and_disturbs_no_other() -> None:
    """It is named, until it is mended or gone; another object of its name inherits nothing."""
    cache = ObjectCache()
    cache.replace(Kind.MODEL, [model("a"), broken("b"), model("c")])
    assert cache.models.keys() == {"a", "c"}
    assert [str(p) for p in cache.problems.values()] == ["TrainedModel 'b': spec.model.memory: '-1' is negative"]
    cache.news()
    cache.event(Kind.MODEL, "MODIFIED", broken("a", version=2))
    assert (cache.news(), cache.models["a"].generation) == (NOTHING, 1)
    cache.event(Kind.MODEL, "MODIFIED", model("a", version=3))
    cache.event(Kind.MODEL, "DELETED", broken("b"))
    assert (cache.problems, names(cache.news())) == ({}, {"a": True})
    cache.replace(Kind.MODEL, [broken("a", version=9, uid="second"), model("c")])
    assert names(cache.news()) == {"a": False}


def test_a_runtime_that_cannot_be_read_stays_as_it_was() -> None:
    """Under the uid that it has now. One that is not ours any more says so."""
    cache = ObjectCache()
    cache.replace(Kind.RUNTIME, [runtime(), runtime("other"), runtime("kserves", builtInAdapter=None)])
    assert cache.runtimes.keys() == {TRITON, "other"}
    before = cache.runtimes[TRITON]
    cache.news()
    cache.event(Kind.RUNTIME, "MODIFIED", runtime(version=2, containers=[]))
    assert (cache.runtimes[TRITON], cache.news()) == (before, NOTHING)
    assert list(cache.problems) == [(Kind.RUNTIME, TRITON)]
    cache.replace(Kind.RUNTIME, [runtime(version=3, uid="second", containers=[]), runtime("other", multiModel=False)])
    assert cache.runtimes.keys() == {TRITON, "other"}
    assert cache.runtimes[TRITON].uid == "second"
    cache.event(Kind.RUNTIME, "MODIFIED", runtime("other", version=4, multiModel=False))
    assert cache.runtimes["other"].unused == "spec.multiModel is false"
    cache.event(Kind.RUNTIME, "MODIFIED", runtime("other", version=5, builtInAdapter=None))
    assert cache.runtimes.keys() == {TRITON}


def test_a_runtime_that_could_never_be_read_says_why() -> None:
    """To the models that name it; until it is mended or gone."""
    cache = ObjectCache()
    cache.replace(Kind.RUNTIME, [runtime("mine", builtInAdapter={"serverType": "mlservr"})])
    why = "spec.builtInAdapter.serverType: expected one of triton, mlserver"
    assert (cache.runtimes["mine"].unused, cache.news().common) == (why, True)
    cache.event(Kind.RUNTIME, "MODIFIED", runtime("mine", version=2, builtInAdapter={"serverType": "mlservr"}))
    assert not cache.news().common
    cache.event(Kind.RUNTIME, "MODIFIED", runtime("mine", version=3, containers=[]))
    assert (cache.runtimes["mine"].unused.split(":")[0], cache.news().common) == ("spec.containers", True)
    cache.event(Kind.RUNTIME, "MODIFIED", runtime("mine", version=4))
    assert (cache.runtimes["mine"].unused, cache.news().common) == ("", True)
    cache.event(Kind.RUNTIME, "MODIFIED", runtime("mine", version=5, containers=[]))
    cache.event(Kind.RUNTIME, "DELETED", runtime("mine", version=6))
    assert not cache.runtimes


def test_a_builtin_runtime_that_is_missing_stays_until_it_is_created_again() -> None:
    """Its models are told nothing; one that waits for what it owns to go is gone, since it is not to be used."""
    cache = ObjectCache(builtins=(TRITON,))
    cache.replace(Kind.RUNTIME, [])
    assert (cache.wanted, cache.runtimes) == ({TRITON}, {})
    cache.wanted.clear()
    cache.created(runtime(version=2, uid="first"))
    cache.event(Kind.RUNTIME, "ADDED", runtime(version=2, uid="first"))
    assert cache.news().common
    cache.event(Kind.RUNTIME, "DELETED", runtime(version=3, uid="first"))
    assert (cache.wanted, cache.runtimes[TRITON].uid, cache.news()) == ({TRITON}, "first", NOTHING)
    cache.wanted.clear()
    cache.created(runtime(version=4, uid="second"))
    assert (cache.runtimes[TRITON].uid, cache.news().common) == ("second", True)
    deleted = runtime(version=5, uid="second")
    deleted["metadata"]["deletionTimestamp"] = "t"
    cache.event(Kind.RUNTIME, "MODIFIED", deleted)
    assert (cache.wanted, cache.runtimes) == (set(), {})
    cache.event(Kind.RUNTIME, "DELETED", deleted)
    assert cache.wanted == {TRITON}
    cache.replace(Kind.RUNTIME, [])
    assert cache.wanted == {TRITON}


def test_deletions_that_nobody_asks_for_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby sees them for months."""
    monkeypatch.setattr(cache_module, "DELETIONS", 2)
    cache = ObjectCache()
    for number in range(5):
        cache.event(Kind.MODEL, "ADDED", model(f"m{number}"))
        cache.event(Kind.MODEL, "DELETED", model(f"m{number}", version=2))
    assert [name for name, _ in cache.news().deleted] == ["m3", "m4"]


def test_a_standby_keeps_nothing_of_models_that_came_and_went() -> None:
    """Who takes news for the first time takes all there is: what was there before is no news to them."""
    cache = ObjectCache()
    for number in range(5):
        cache.event(Kind.MODEL, "ADDED", model(f"m{number}"))
        cache.event(Kind.MODEL, "MODIFIED", broken(f"m{number}", version=2, uid="second"))
        cache.event(Kind.MODEL, "DELETED", model(f"m{number}", version=3, uid="second"))
    assert not cache._changed
    cache.event(Kind.MODEL, "ADDED", model("a"))
    assert names(cache.news()) == {"a": True}
    cache.event(Kind.MODEL, "DELETED", model("a", version=2))
    assert names(cache.news()) == {"a": False}


steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["ADDED", "MODIFIED", "DELETED", "list"])), max_size=12
)


@given(steps)
def test_news_added_up_are_the_state(changes: list[tuple[str, str]]) -> None:
    """Whoever takes all news has what the cache has, and what the server has."""
    cache, mine, server = ObjectCache(), dict[str, object](), dict[str, dict[str, Any]]()
    for version, (name, change) in enumerate(changes, start=1):
        if change == "list":
            server.pop(name, None)
            cache.replace(Kind.MODEL, list(server.values()))
        elif change == "DELETED":
            cache.event(Kind.MODEL, change, server.pop(name, model(name)))
        else:
            server[name] = model(name, version=version)
            cache.event(Kind.MODEL, change, server[name])
        for each, value in cache.news().models.items():
            mine[each] = value
            if value is None:
                del mine[each]
        assert mine == cache.models
        assert mine.keys() == server.keys()

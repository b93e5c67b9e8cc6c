"""The API server as a source of desired state: what is delivered, when, and at what cost."""

from __future__ import annotations

import base64
import json

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.trained_model import API_VERSIONS
from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube import source as source_module
from orchestrator.platform.kube.paths import core, group
from tests.orchestrator.builders import make_raw_model
from tests.orchestrator.platform.kube.fake_api import Answer, Call
from tests.orchestrator.platform.kube.sourcing import MLSERVER, RUNTIMES, TRITON, Bench, Sink, started, task
from tests.orchestrator.platform.kube.support import MODELS, NAMESPACE
from tests.orchestrator.waiting import eventually

SECRET = core("secrets", NAMESPACE, "storage-config")
CONFIG = core("configmaps", NAMESPACE, "wml-serving-config")


async def test_objects_come_and_go(bench: Bench) -> None:
    """A model's change is a change and no listing; what was deleted was said to be."""
    bench.put("a")
    async with bench.leading() as sink:
        await eventually(lambda: "a" in sink.models)
        assert sink.runtimes.keys() == {TRITON, MLSERVER}
        assert all(runtime.uid for runtime in sink.runtimes.values())
        listings = sink.listings
        bench.put("b", generation=2)
        await eventually(lambda: "b" in sink.models)
        uid = sink.models["b"].uid
        bench.fake.store.delete(f"{MODELS}/b")
        await eventually(lambda: "b" not in sink.models)
        assert sink.deleted == {("b", uid)}
        assert (sink.listings, set().union(*sink.changes)) == (listings, {"b"})


async def test_a_runtime_that_is_deleted_is_gone_at_once(bench: Bench) -> None:
    """By its watch event, and not by the next list."""
    path, manifest = f"{RUNTIMES}/own", builtin_manifests()[MLSERVER]
    bench.fake.store.put(path, {**manifest, "metadata": {"name": "own"}})
    async with bench.leading() as sink:
        await eventually(lambda: "own" in sink.runtimes)
        lists = bench.fake.verbs().count("list")
        bench.fake.store.delete(path)
        await eventually(lambda: sink.runtimes.keys() == {TRITON, MLSERVER})
        assert bench.fake.verbs().count("list") == lists


async def test_a_burst_is_one_delivery(bench: Bench) -> None:
    """All that arrives in one turn of the loop."""
    async with bench.leading() as sink:
        for number in range(100):
            bench.put(f"m{number}")
        await eventually(lambda: len(sink.models) == 100)
        assert len(sink.changes) < 50


async def test_nothing_is_delivered_before_each_kind_was_listed() -> None:
    """One that cannot be listed is not one of which there is nothing."""
    async with started() as bench, task(bench.source.watch()):
        bench.put("a")

        def refuse(call: Call) -> Answer | None:
            return Answer(503, "not yet") if refusing and call.path == core("secrets", NAMESPACE) else None

        refusing = True
        bench.fake.meet = refuse
        sink = Sink()
        async with task(bench.source.run(sink)):
            await eventually(lambda: sum(call.path == core("secrets", NAMESPACE) for call in bench.fake.calls) > 1)
            assert sink.listings == 0
            refusing = False
            await eventually(lambda: sink.listings)
            assert "a" in sink.models


async def test_no_more_is_asked_for_than_is_needed(bench: Bench) -> None:
    """This namespace alone, and of Secrets and ConfigMaps the one of our name."""
    async with bench.leading():
        assert all(f"/namespaces/{NAMESPACE}/" in call.path for call in bench.fake.calls)
        for call in bench.fake.calls:
            if call.path.endswith(("/secrets", "/configmaps")):
                assert call.query["fieldSelector"] in {
                    "metadata.name=storage-config",
                    "metadata.name=wml-serving-config",
                }


async def test_secret_and_config(bench: Bench) -> None:
    """They come and go; the Secret's bytes are in no log line."""
    text = base64.b64encode(b"hunter2").decode()
    with capture_logs() as lines:
        async with bench.leading() as sink:
            assert (sink.storage, sink.config) == (None, {})
            bench.fake.store.put(SECRET, {"metadata": {}, "data": {"k": text}})
            bench.fake.store.put(CONFIG, {"metadata": {}, "data": {"podsPerRuntime": "2"}})
            await eventually(lambda: sink.storage is not None and sink.config)
            assert sink.storage is not None
            assert sink.storage.entries == {"k": "hunter2"}
            assert sink.config == {"podsPerRuntime": "2"}
            bench.fake.store.delete(SECRET)
            bench.fake.store.delete(CONFIG)
            await eventually(lambda: sink.storage is None and not sink.config)
    assert "hunter2" not in str(lines)


async def test_a_standby_is_told_of_live_settings(bench: Bench) -> None:
    """Each time that they change, without leading: it has a log, too."""
    bench.fake.store.put(CONFIG, {"metadata": {}, "data": {"logLevel": "error"}})
    await eventually(lambda: bench.configs[-1:] == [{"logLevel": "error"}])
    bench.fake.store.delete(CONFIG)
    await eventually(lambda: bench.configs[-1] == {})


async def test_a_standby_is_warm_and_takes_over(bench: Bench) -> None:
    """It follows without leading, and delivers at once; what was deleted in between is still known to have been."""
    bench.put("a")
    bench.put("b")
    await eventually(lambda: bench.source.shown("b"))
    found = bench.source.shown("b")
    assert found is not None
    bench.fake.store.delete(f"{MODELS}/b")
    await eventually(lambda: bench.source.shown("b") is None)
    # Nothing was written: it does not lead.
    assert {"list", "watch"} >= set(bench.fake.verbs())
    async with bench.leading() as sink:
        assert sink.models.keys() == {"a"}
        assert sink.deleted == {("b", found.uid)}
        bench.put("c")
        await eventually(lambda: "c" in sink.models)


async def test_a_leader_begins_with_what_there_is_and_not_with_what_it_saw(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the API server was away somebody made a model; its watch comes back later than the lease."""
    monkeypatch.setattr(source_module, "FRESH_S", 0.0)
    bench.put("a")
    await eventually(lambda: bench.source.shown("a"))
    bench.fake.meet = lambda call: Answer(503, "away") if call.verb == "watch" else None
    bench.fake.cut()
    bench.put("b")
    async with bench.leading() as sink:
        assert sink.models.keys() == {"a", "b"}


async def test_a_server_that_fails_at_lists_stops_no_leader(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its watches have shown is what there is, for all that can be known."""
    monkeypatch.setattr(source_module, "FRESH_S", 0.0)
    bench.put("a")
    await eventually(lambda: bench.source.shown("a"))
    bench.fake.meet = lambda call: Answer(500, "etcd") if call.verb == "list" else None
    async with bench.leading() as sink:
        assert sink.models.keys() == {"a"}
        bench.put("b")
        await eventually(lambda: "b" in sink.models)


async def test_an_absence_in_a_list_is_no_deletion(bench: Bench) -> None:
    """The watch was broken, and its version is gone (law 9)."""
    bench.put("a")
    bench.put("b")
    async with bench.leading() as sink:
        await eventually(lambda: len(sink.models) == 2)
        bench.fake.mute = True
        bench.fake.store.delete(f"{MODELS}/a")
        bench.fake.store.compact()
        bench.fake.cut()
        bench.fake.mute = False
        await eventually(lambda: sink.models.keys() == {"b"})
        assert sink.deleted == set()


async def test_an_object_that_cannot_be_read_says_so_itself(bench: Bench) -> None:
    """An Event on it and a line, once each; the others are not disturbed; what it was before stays."""
    bench.put("a")
    with capture_logs() as lines:
        async with bench.leading() as sink:
            await eventually(lambda: "a" in sink.models)
            uid = sink.models["a"].uid
            for _ in range(2):
                raw = bench.fake.store.get(f"{MODELS}/a")
                raw["spec"]["model"]["memory"] = "-1"
                raw["metadata"].pop("resourceVersion")
                bench.fake.store.put(f"{MODELS}/a", raw)
            wrong = dict(builtin_manifests()[TRITON])
            wrong["spec"] = wrong["spec"] | {"builtInAdapter": {"serverType": "ovms"}}
            bench.fake.store.put(f"{RUNTIMES}/{TRITON}", wrong)
            bench.put("b")
            events = core("events", NAMESPACE)
            await eventually(lambda: len(bench.fake.store.collection(events, {})["items"]) == 2)
            await eventually(lambda: "b" in sink.models)
            assert sink.models["a"].uid == uid
            assert sink.runtimes[TRITON].server_type == "triton"
            told = bench.fake.store.collection(events, {})["items"]
            assert {(e["involvedObject"]["kind"], e["involvedObject"]["name"], e["reason"]) for e in told} == {
                ("TrainedModel", "a", "InvalidManifest"),
                ("ServingRuntime", TRITON, "InvalidManifest"),
            }
            assert len(bench.source.problems()) == 2
            assert [bool(bench.source.refused(name)) for name in ("a", "b", TRITON)] == [True, False, False]
            bench.put("a")
            await eventually(lambda: len(bench.source.problems()) == 1)
            await eventually(lambda: any(line["event"] == "object_mended" for line in lines))
    assert [line["event"] for line in lines if line["event"].startswith("object_")].count("object_invalid") == 2


async def test_an_object_that_is_nested_too_deep_is_its_own_trouble_only() -> None:
    """
    A ServingRuntime may hold anything beside its schema: one that Python's parser gives up on is in every list.

    The list comes to an end, the others are read, the next objects as well, and it is said which one it is.
    """
    manifest = builtin_manifests()[MLSERVER]
    own = {**manifest, "metadata": {"name": "own", "uid": "u", "resourceVersion": "7"}}
    hostile = json.dumps({**own, "metadata": {"name": "bad", "uid": "v", "resourceVersion": "8"}, "x": "DEEP"})
    body = {"kind": "ServingRuntimeList", "metadata": {"resourceVersion": "1"}, "items": [own, "BAD"]}
    text = json.dumps(body).replace('"BAD"', hostile.replace('"DEEP"', "[" * 5_000 + "]" * 5_000))
    async with started() as bench:
        bench.fake.meet = lambda call: Answer(200, text) if (call.verb, call.path) == ("list", RUNTIMES) else None
        async with task(bench.source.watch()), task(bench.recorder.run()), bench.leading() as sink:
            bench.put("a")
            await eventually(lambda: "a" in sink.models)
            assert sink.runtimes.keys() == {"own", "bad", TRITON, MLSERVER}
            assert sink.runtimes["bad"].unused == "object: nested deeper than 100 levels"
            assert bench.source.problems() == ["ServingRuntime 'bad': object: nested deeper than 100 levels"]
            events = core("events", NAMESPACE)
            await eventually(lambda: len(bench.fake.store.collection(events, {})["items"]) == 1)


async def test_kserves_own_runtimes_are_nobodys_business(bench: Bench) -> None:
    """Not delivered, and not a word about them."""
    kserves = {"metadata": {}, "spec": {"containers": [{"name": "kserve-container"}]}}
    with capture_logs() as lines:
        bench.fake.store.put(f"{RUNTIMES}/kserve-sklearnserver", kserves)
        async with bench.leading() as sink:
            bench.put("a")
            await eventually(lambda: "a" in sink.models)
            assert sink.runtimes.keys() == {TRITON, MLSERVER}
    assert not [line for line in lines if line.get("log_level") in {"warning", "error"}]


async def test_the_other_group_by_configuration() -> None:
    """TrainedModels of KServe's group, and of no other."""
    path = group(API_VERSIONS[1], "trainedmodels", NAMESPACE)
    async with started(version=API_VERSIONS[1]) as bench, task(bench.source.watch()):
        raw = make_raw_model("a") | {"apiVersion": API_VERSIONS[1]}
        bench.fake.store.put(f"{path}/a", raw)
        bench.put("b")
        async with bench.leading() as sink:
            assert sink.models.keys() == {"a"}

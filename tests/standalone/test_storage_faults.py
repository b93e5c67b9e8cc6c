"""
Stores and disks that fail, as users see it: the model's condition has the reason, and nobody else notices.

What a store can do wrong is told apart in the adapter's own tests; here is
what only the whole product shows.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from tests.adapters.storage.stores import ACCESS, SECRET, rclone
from tests.small_disk import filled, seen_by
from tests.standalone.liar import Liar
from tests.standalone.manifests import s3_entry, serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.servers import adapter
from tests.standalone.stack import Stack
from tests.standalone.verdicts import lies
from tests.standalone.waiting import wait_until
from tests.standalone.watch import watching
from tests.standalone.witness import Witness
from tests.trees import files_below

MIB = 1 << 20
GIB = 1 << 30
#: Where files of models are, below STATE: those that are being fetched, and those that are served.
KEPT = ("pods/*/scratch/staging/*/*", "pods/*/models/*/model/*")
#: Objects beside a model, and how large one more of them is.
MANY = 5_000
LARGE = 2 * GIB
#: What an adapter may have of memory, whatever it fetches.
ADAPTER = 300_000_000
#: How long the runtime's loads may take, and so how long a slow download has a place.
PATIENCE_S = 5.0


def test_a_full_disk_fails_a_model_and_nothing_else(make_stack: Callable[..., Stack], models: Models) -> None:
    """What serves goes on, to the last byte; with room again all come by themselves, and nothing was left behind."""
    with make_stack(disk_bytes=64 * MIB) as stack:
        stack.apply(trained_model("serves", models.uri("probe-0.joblib"), "sklearn"))
        stack.wait_ready("serves")
        state = seen_by(stack.supervisor, stack.state)

        def files() -> list[str]:
            found = [path.relative_to(state).as_posix() for path in files_below(state / "pods")]
            return [path for path in found if any(fnmatch(path, pattern) for pattern in KEPT)]

        with watching(stack, models, "serves") as watch:
            watch.witness.heard("serves", 0)
            with filled(state, leaving=8 * MIB):
                stack.apply(trained_model("waits", models.uri("probe-1.joblib"), "sklearn"))
                found = stack.wait_condition("waits", "StorageUnavailable")
                assert models.uri("probe-1.joblib") in found.message
                assert "the adapter's disk is full" in found.message
                assert str(stack.state) not in found.message
            stack.wait_ready("waits")
            with filled(state):
                stack.apply(trained_model("comes-late", models.uri("probe-2.joblib"), "sklearn"))
                stack.apply(trained_model("waits", models.uri("probe-3.joblib"), "sklearn"))
                watch.witness.heard("serves", 0, times=100, within=60)
                assert {stack.condition(name).status for name in ("serves", "waits")} == {"True"}
            stack.wait_ready("comes-late")
            wait_until(
                lambda: (
                    stack.condition("waits", "UpToDate").status == "True"
                    and stack.status("waits").get("activeStorageUri", "").endswith("-3.joblib")
                ),
                lambda: f"not updated: {stack.get('waits')}\n{stack.tail()}",
                within=60,
            )
        watch.readiness.check("serves")
        with stack.client() as client:
            for name, number in (("serves", 0), ("waits", 3), ("comes-late", 2)):
                answer = client.classes(name, models.probes[:1])
                assert answer[0] == 100 * number + models.probe_labels[0], name
        wait_until(lambda: len(files()) == 3, lambda: f"files: {files()}")


def test_a_large_model_of_many_objects_is_no_matter_to_others(
    shared: Stack, models: Models, name: str, tmp_path: Path
) -> None:
    """
    While it is fetched and loaded, and when it goes: those in the same server and in the other one lose nothing.

    The adapter that fetches it stays small.
    """
    shared.apply(serving_runtime("roomy", "mlserver", ["sklearn"], memory=str(4 * GIB)))
    beside, elsewhere = f"{name}-beside", f"{name}-elsewhere"
    shared.apply(trained_model(beside, models.uri("probe-1.joblib"), "sklearn", runtime="roomy"))
    shared.apply(trained_model(elsewhere, models.uri("probe-2.onnx"), "onnx"))
    shared.wait_ready(beside, elsewhere)
    prefix = tmp_path / "bucket" / "prefix"
    for number in range(MANY):
        # Not all in one directory: the server reads the object's directory for each request.
        part = prefix / f"{number // 100:02}" / f"{number:04}"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"%04d" % number)
    shutil.copyfile(models.file("probe-3.joblib"), prefix / "model.joblib")
    with (prefix / "large.bin").open("wb") as sparse:
        sparse.truncate(LARGE)
    # Without ETags: to know that of the large object, the server would read all of it for each request.
    with rclone(tmp_path, etags=False) as endpoint, watching(shared, models, beside, elsewhere) as watch:
        shared.secret(large=s3_entry(endpoint, ACCESS, SECRET))
        watch.witness.heard(beside, 1)
        fetches = adapter(shared, "roomy")
        fetches.forget_peak()
        shared.apply(trained_model(name, "s3://bucket/prefix", "sklearn", runtime="roomy", key="large"))
        shared.wait_ready(name, within=200)
        watch.witness.heard(beside, 1)
        with shared.client() as client:
            assert client.classes(name, models.probes[:1])[0] == 300 + models.probe_labels[0]
        shared.delete(name)
        shared.wait_gone(name)
        watch.witness.heard(beside, 1)
        watch.witness.heard(elsewhere, 2)
    watch.readiness.check(beside, elsewhere)
    assert fetches.peak < ADAPTER
    assert f'"objects": {MANY + 2}, ' in shared.text()
    shared.secret(large=None)
    shared.delete(beside, elsewhere)
    for each in (beside, elsewhere):
        shared.wait_gone(each)
    shared.remove("servingruntime-roomy.yaml")


def test_stores_that_fail_in_every_way_hold_up_nobody(shared: Stack, liar: Liar, models: Models, name: str) -> None:
    """
    All ways at once, and more models that drip than may be downloaded at once.

    What can be had comes whole in spite of it, what cannot has its reason, and READY is the truth of each. Their
    neighbours are asked throughout and lose nothing, a newcomer is served meanwhile, and once the stores are well all come.
    """
    padded = [{"digits.joblib": models.file(f"padded-{number}.joblib").read_bytes()} for number in range(2)]
    # Each with the prober that it is in the end.
    overcome = {"cuts": 0, "turns": 0, "changes": 1}
    given_up = {"breaks": "broke the connection", "fails": "answered HTTP 503", "never-the-same": "again and again"}
    given_up |= {f"drips-{number}": "the download is too slow" for number in range(5)}
    liar.buckets |= dict.fromkeys((*overcome, *given_up), padded[0])
    liar.cutting |= {"cuts": MIB, "breaks": 0}
    liar.turning |= {"turns": itertools.cycle((500, 503, 200)), "fails": itertools.repeat(503)}
    liar.changing |= {"changes": iter(padded[1:]), "never-the-same": itertools.cycle(padded[::-1])}
    liar.dripping |= {bucket for bucket in given_up if bucket.startswith("drips")}
    shared.secret(liar=liar.entry)
    shared.apply(serving_runtime("hasty", "mlserver", ["sklearn"], load_s=PATIENCE_S))

    def neighbour(which: str, file: str, framework: str, runtime: str = "hasty") -> str:
        model = f"{name}-{which}"
        shared.apply(trained_model(model, models.uri(file), framework, runtime=runtime))
        return model

    beside = neighbour("beside", "probe-1.joblib", "sklearn")
    elsewhere = neighbour("elsewhere", "probe-2.onnx", "onnx", "")
    shared.wait_ready(beside, elsewhere)
    faulty = {bucket: f"{name}-{bucket}" for bucket in (*overcome, *given_up)}
    with (
        watching(shared, models, beside, elsewhere) as watch,
        Witness(shared.target, list(faulty.values()), models.probes, models.probe_labels, rate=10) as asked,
    ):
        for bucket, model in faulty.items():
            uri = f"s3://{bucket}/digits.joblib"
            shared.apply(trained_model(model, uri, "sklearn", runtime="hasty", key="liar"))
        tried = {"Downloading", "StorageUnavailable"}
        wait_until(
            lambda: all(shared.condition(faulty[bucket]).reason in tried for bucket in given_up), "not all are tried"
        )
        newcomer = neighbour("newcomer", "probe-3.joblib", "sklearn")
        shared.wait_ready(newcomer, within=30)
        for bucket, words in given_up.items():
            found = shared.wait_condition(faulty[bucket], "StorageUnavailable", within=60)
            assert f"s3://{bucket}/digits.joblib: " in found.message
            assert words in found.message
            assert "drips" not in bucket or "modelLoadingTimeoutMillis" in found.message
        shared.wait_ready(*(faulty[bucket] for bucket in overcome))
        well = time.monotonic()
        liar.release()
        for faults in (liar.cutting, liar.turning, liar.changing):
            faults.clear()
        shared.wait_ready(*faulty.values(), within=90)
        for bucket, number in overcome.items():
            asked.heard(faulty[bucket], number, times=2)
        watch.witness.heard(beside, 1)
        watch.witness.heard(elsewhere, 2)
    assert liar.refused["changes"] == 1
    assert {faulty[bucket]: asked.phases(faulty[bucket]) for bucket in overcome} == {
        faulty[bucket]: [number] for bucket, number in overcome.items()
    }
    asked.check(excused=lambda outcome: True)
    assert not lies(asked.outcomes, watch.readiness.samples)
    said = [s for s in watch.readiness.samples if s.heard < well]
    assert not [bucket for bucket in given_up if any(s.ready(faulty[bucket]) for s in said)]
    watch.readiness.check(beside, elsewhere)
    everyone = (*faulty.values(), beside, elsewhere, newcomer)
    shared.delete(*everyone)
    for each in everyone:
        shared.wait_gone(each)
    shared.remove("servingruntime-hasty.yaml")
    shared.secret(liar=None)

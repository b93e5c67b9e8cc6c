"""The real directory, the real notifications, the real STATE."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.errors import PlatformUnavailable
from orchestrator.domain.trained_model import ModelStatus
from orchestrator.platform.builtin import builtin_runtimes
from orchestrator.platform.local import source as source_module
from orchestrator.platform.local.record_store import RecordStore
from orchestrator.platform.local.source import DirectorySource
from tests.orchestrator.platform.local.support import (
    NAMESPACE,
    Sink,
    model_yaml,
    replace_file,
    runtime_yaml,
    uids,
)
from tests.orchestrator.waiting import eventually

Start = Callable[[], AbstractAsyncContextManager[tuple[DirectorySource, Sink]]]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    return directory


@pytest.fixture
def start(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(source_module, "RESCAN_S", 0.2)
    new_uid = uids()

    @asynccontextmanager
    async def started() -> AsyncIterator[tuple[DirectorySource, Sink]]:
        sink = Sink()
        source = DirectorySource(
            models,
            RecordStore(tmp_path / "state"),
            namespace=NAMESPACE,
            builtins=builtin_runtimes(NAMESPACE),
            clock=time.monotonic,
            timestamp=lambda: "2026-01-01T00:00:00Z",
            new_uid=new_uid,
            on_config=sink.settings.append,
        )
        task = asyncio.create_task(source.run(sink))
        try:
            yield source, sink
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()

    return started


async def test_files_come_and_go(models: Path, start: Start) -> None:
    """Each change is seen; hidden, nested and other files are not, and what is called like a file and is none is told."""
    (models / "nested.yaml").mkdir()
    (models / "nested.yaml" / "n.yaml").write_text(model_yaml("nested"))
    os.mkfifo(models / "pipe.yaml")
    for name in (".hidden.yaml", "notes.txt"):
        (models / name).write_text(model_yaml("unseen"))
    async with start() as (source, sink):
        await eventually(lambda: sink.deliveries)
        assert sink.models == {}
        assert source.problems() == ["nested.yaml: a directory; what is below is not read", "pipe.yaml: not a file"]
        assert {"triton-2.x", "mlserver-0.x"} == sink.runtimes.keys()
        (models / "a.yaml").write_text(model_yaml("a"))
        (models / "b.yml").write_text(model_yaml("b") + "---\n" + model_yaml("c"))
        await eventually(lambda: {"a", "b", "c"} == sink.models.keys())
        uid = sink.models["a"].uid
        replace_file(models / "a.yaml", model_yaml("a", uri="s3://b/other"))
        await eventually(lambda: sink.models["a"].generation == 2)
        assert uid == sink.models["a"].uid
        replace_file(models / "b.yml", model_yaml("b"))
        await eventually(lambda: {"a", "b"} == sink.models.keys())
        (models / "a.yaml").unlink()
        await eventually(lambda: {"b"} == sink.models.keys())
        (models / "a.yaml").write_text(model_yaml("a"))
        await eventually(lambda: "a" in sink.models)
        assert uid != sink.models["a"].uid


def generation_is(sink: Sink, number: int) -> Callable[[], bool]:
    return lambda: sink.models["a"].generation == number


async def test_a_change_is_seen_at_once(models: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """By notification: the looks in between are switched off."""
    monkeypatch.setattr(source_module, "RESCAN_S", 1000.0)
    async with start() as (_, sink):
        await eventually(lambda: sink.deliveries)
        for number in range(1, 6):
            replace_file(models / "a.yaml", model_yaml("a", uri=f"s3://b/{number}"))
            await eventually(lambda: "a" in sink.models)
            await eventually(generation_is(sink, number))


async def test_a_rename_and_an_editors_save_delete_nothing(models: Path, start: Start) -> None:
    """The same object, under another file name or written anew."""
    (models / "a.yaml").write_text(model_yaml("a"))
    async with start() as (_, sink):
        await eventually(lambda: "a" in sink.models)
        uid = sink.models["a"].uid
        (models / "a.yaml").rename(models / "z.yaml")
        (models / "z.yaml").unlink()
        (models / "z.yaml").write_text("")
        (models / "z.yaml").write_text(model_yaml("a", uri="s3://b/saved"))
        await eventually(lambda: sink.models["a"].storage_uri == "s3://b/saved")
        (models / "last.yaml").write_text(model_yaml("last"))
        await eventually(lambda: "last" in sink.models)
        assert (uid, set()) == (sink.models["a"].uid, sink.lost)


async def test_a_broken_file_keeps_what_it_defined(models: Path, start: Start) -> None:
    """Also over a restart; it is reported once, with file, line and reason, and once when it is mended."""
    (models / "a.yaml").write_text(model_yaml("a"))
    with capture_logs() as lines:
        async with start() as (_, sink):
            await eventually(lambda: "a" in sink.models)
            uid = sink.models["a"].uid
            replace_file(models / "a.yaml", "a: 1\nb: [unclosed\n")
            await eventually(lambda: any(line["event"] == "manifest_invalid" for line in lines))
            (models / "b.yaml").write_text(model_yaml("b"))
            await eventually(lambda: "b" in sink.models)
            assert "a" in sink.models
        async with start() as (_, sink):
            await eventually(lambda: {"a", "b"} == sink.models.keys())
            assert uid == sink.models["a"].uid
            replace_file(models / "a.yaml", model_yaml("a", uri="s3://b/mended"))
            await eventually(lambda: sink.models["a"].generation == 2)
            assert uid == sink.models["a"].uid
    reports = [line for line in lines if line["event"] == "manifest_invalid"]
    # Once for each process that saw it.
    assert [(line["file"], line["line"]) for line in reports] == [("a.yaml", 2), ("a.yaml", 2)]
    assert len([line for line in lines if line["event"] == "manifest_mended"]) == 1


async def test_a_runtime_that_could_never_be_read_says_why(models: Path, start: Start) -> None:
    """To the models that name it. One that could be read once is used as it was, a built-in one as it comes."""
    (models / "bad.yaml").write_text(runtime_yaml("mine", "mlservr"))
    (models / "builtin.yaml").write_text(runtime_yaml("mlserver-0.x", "mlservr"))
    async with start() as (_, sink):
        await eventually(lambda: "mine" in sink.runtimes)
        why = "spec.builtInAdapter.serverType: expected one of triton, mlserver"
        unused = {name: runtime.unused for name, runtime in sink.runtimes.items()}
        assert unused == {"mlserver-0.x": "", "triton-2.x": "", "mine": why}
        replace_file(models / "bad.yaml", runtime_yaml("mine"))
        await eventually(lambda: not sink.runtimes["mine"].unused)
        replace_file(models / "bad.yaml", runtime_yaml("mine", "mlservr"))
        (models / "a.yaml").write_text(model_yaml("a"))
        await eventually(lambda: "a" in sink.models)
        assert not sink.runtimes["mine"].unused
        (models / "bad.yaml").unlink()
        await eventually(lambda: "mine" not in sink.runtimes)


async def test_a_model_that_could_never_be_read_is_known_as_refused(models: Path, start: Start) -> None:
    """Until it is mended, or gone. One that could be read once is served as it was, and is not."""
    bad = model_yaml("a").replace("storageUri", "storageURI")
    (models / "a.yaml").write_text(bad)
    async with start() as (source, sink):
        await eventually(lambda: source.refused("a") == "spec.model.storageUri: required: a string")
        assert source.refused("b") == ""
        replace_file(models / "a.yaml", model_yaml("a"))
        await eventually(lambda: "a" in sink.models)
        assert source.refused("a") == ""
        replace_file(models / "a.yaml", bad)
        await eventually(source.problems)
        assert source.refused("a") == ""


async def test_a_file_whose_name_is_no_text_is_read_as_any_other(models: Path, start: Start) -> None:
    """The notifier fails at it; that is said once, and others are seen as before."""
    odd = models / os.fsdecode(b"\xff.yaml")

    def failed() -> bool:
        odd.write_text(model_yaml("a") + "  unknown: 1\n")
        return any(line["event"] == "watch_failed" for line in lines)

    with capture_logs() as lines:
        async with start() as (source, sink):
            await eventually(failed)
            (models / "b.yaml").write_text(model_yaml("b"))
            await eventually(lambda: {"a", "b"} == sink.models.keys())
            assert source.problems() == ["\udcff.yaml:11: TrainedModel 'a': unknown field 'spec.unknown'"]


async def test_an_unreadable_directory_deletes_nothing(models: Path, start: Start, tmp_path: Path) -> None:
    """Moved away, it changes nothing; moved back, it is followed again, and what was removed meanwhile is gone."""
    (models / "a.yaml").write_text(model_yaml("a"))
    (models / "b.yaml").write_text(model_yaml("b"))
    with capture_logs() as lines:
        async with start() as (_, sink):
            await eventually(lambda: len(sink.models) == 2)
            before = dict(sink.models)
            models.rename(tmp_path / "away")
            await eventually(lambda: any(line["event"] == "directory_unreadable" for line in lines))
            assert (before, set()) == (sink.models, sink.lost)
            (tmp_path / "away" / "b.yaml").unlink()
            (tmp_path / "away").rename(models)
            await eventually(lambda: {"a"} == sink.models.keys())
            replace_file(models / "a.yaml", model_yaml("a", uri="s3://b/new"))
            await eventually(lambda: sink.models["a"].generation == 2)
    assert len([line for line in lines if line["event"] == "directory_unreadable"]) == 1
    assert len([line for line in lines if line["event"] == "directory_usable"]) == 1


async def test_a_directory_that_is_not_there_delivers_nothing(models: Path, start: Start) -> None:
    """Not even that there are no models; once it is there it is followed."""
    models.rmdir()
    with capture_logs() as lines:
        async with start() as (_, sink):
            await eventually(lambda: any(line["event"] == "directory_unreadable" for line in lines))
            assert sink.deliveries == 0
            models.mkdir()
            await eventually(lambda: sink.deliveries)
            (models / "a.yaml").write_text(model_yaml("a"))
            await eventually(lambda: "a" in sink.models)


async def test_identity_and_status_survive_a_restart(models: Path, start: Start) -> None:
    """And what was removed meanwhile is gone from the first delivery on. A status alone delivers nothing."""
    for name in ("a", "b"):
        (models / f"{name}.yaml").write_text(model_yaml(name))
    status = ModelStatus(url="grpc://x", observed_generation=1, active_revision="r")
    async with start() as (source, sink):
        await eventually(lambda: len(sink.models) == 2)
        model = sink.models["a"]
        await source.write_status("a", model.uid, status)
        # Whole from the first look on: an empty file would be news by itself.
        draft = models.parent / "c.yaml"
        draft.write_text(model_yaml("c"))
        told = sink.deliveries
        draft.replace(models / "c.yaml")
        await eventually(lambda: "c" in sink.models)
        assert sink.deliveries == told + 1
        assert sink.models["a"].status == status
    for name in ("b", "c"):
        (models / f"{name}.yaml").unlink()
    async with start() as (_, sink):
        await eventually(lambda: sink.deliveries)
        assert {"a": replace(model, status=status)} == sink.models


async def test_a_status_for_a_model_that_is_gone_is_no_error(models: Path, start: Start, tmp_path: Path) -> None:
    """Nor does it bring the model, or its namesake's status, back."""
    (models / "a.yaml").write_text(model_yaml("a"))
    async with start() as (source, sink):
        await eventually(lambda: "a" in sink.models)
        await source.write_status("a", "another-uid", ModelStatus(url="wrong"))
        await source.write_status("none", "uid", ModelStatus(url="wrong"))
        assert ModelStatus() == sink.models["a"].status
    assert os.listdir(tmp_path / "state") == ["a.json"]


async def test_the_users_runtime_overrides_the_built_in(models: Path, start: Start) -> None:
    """And taking it away brings the built-in back."""
    async with start() as (_, sink):
        await eventually(lambda: sink.deliveries)
        built_in = sink.runtimes["triton-2.x"]
        (models / "r.yaml").write_text(runtime_yaml("triton-2.x", "mlserver"))
        await eventually(lambda: sink.runtimes["triton-2.x"].server_type == "mlserver")
        (models / "r.yaml").unlink()
        await eventually(lambda: sink.runtimes["triton-2.x"] == built_in)


async def test_secret_and_config(models: Path, start: Start, tmp_path: Path) -> None:
    """They are delivered, and no byte of the Secret is written anywhere."""
    text = "apiVersion: v1\nkind: {}\nmetadata: {{name: {}}}\n{}: {{k: hunter2}}\n"
    with capture_logs() as lines:
        async with start() as (_, sink):
            (models / "s.yaml").write_text(text.format("Secret", "storage-config", "stringData"))
            (models / "c.yaml").write_text(text.format("ConfigMap", "wml-serving-config", "data"))
            (models / "a.yaml").write_text(model_yaml("a"))
            await eventually(lambda: sink.storage is not None and sink.config and sink.models)
            assert sink.storage is not None
            assert {"k": "hunter2"} == sink.storage.entries == sink.config == sink.settings[-1]
            (models / "s.yaml").unlink()
            await eventually(lambda: sink.storage is None)
    assert "hunter2" not in str(lines)
    assert not [path for path in (tmp_path / "state").iterdir() if "hunter2" in path.read_text()]


async def test_a_full_disk_delivers_no_new_object(models: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object without a lasting uid is not one yet; it comes when there is room."""
    async with start() as (source, sink):
        (models / "a.yaml").write_text(model_yaml("a"))
        await eventually(lambda: "a" in sink.models)
        with monkeypatch.context() as broken, capture_logs() as lines:

            def full(self: RecordStore, record: object) -> None:
                raise OSError(28, "No space left on device")

            broken.setattr(RecordStore, "save", full)
            (models / "b.yaml").write_text(model_yaml("b"))
            await eventually(lambda: any(line["event"] == "state_unwritable" for line in lines))
            assert {"a"} == sink.models.keys()
            with pytest.raises(PlatformUnavailable, match="status of a: No space"):
                await source.write_status("a", sink.models["a"].uid, ModelStatus(url="x"))
        await eventually(lambda: {"a", "b"} == sink.models.keys())

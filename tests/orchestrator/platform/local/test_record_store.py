"""Records on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.platform.local.lease import LeaseLost
from orchestrator.platform.local.record_store import RecordStore
from orchestrator.platform.local.records import record_file, render_record
from tests.orchestrator.platform.local.support import model_yaml, record


def test_a_store_keeps_records(tmp_path: Path) -> None:
    """Long names included; what was deleted is gone."""
    store = RecordStore(tmp_path / "records")
    assert store.load() == {}
    records = {name: record(model_yaml(name)) for name in ("m", "n", "x" * 253, "x" * 252 + "y")}
    for kept in records.values():
        store.save(kept)
    store.delete("n")
    store.delete("never-there")
    del records["n"]
    assert records == store.load() == RecordStore(tmp_path / "records").load()
    assert all(len(record_file(name)) <= 255 for name in records)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"file": "a", "object": {}}', "\x00", "null", "[" * 100_000])
def test_a_corrupt_record_is_left_out(tmp_path: Path, text: str) -> None:
    """With a warning; its neighbours are read, and half-written files are cleared away."""
    store = RecordStore(tmp_path)
    store.save(record(model_yaml("good")))
    (tmp_path / "bad.json").write_text(text)
    (tmp_path / ".new-half").write_text("{")
    with capture_logs() as lines:
        assert {"good"} == store.load().keys()
    assert [(line["event"], line["file"]) for line in lines] == [("record_unreadable", str(tmp_path / "bad.json"))]
    assert not (tmp_path / ".new-half").exists()


def test_a_record_that_cannot_be_read_is_no_news_of_its_model(tmp_path: Path) -> None:
    """Taken for absent, its model would be another one, and the copy that serves would leave."""
    store = RecordStore(tmp_path)
    store.save(record(model_yaml("good")))
    (tmp_path / "bad.json").mkdir()
    with pytest.raises(IsADirectoryError):
        store.load()


def test_a_record_under_another_name_is_left_out(tmp_path: Path) -> None:
    """A copied file would be a second model with the uid of the first."""
    store = RecordStore(tmp_path)
    (tmp_path / record_file("other")).write_text(render_record(record(model_yaml("m"))))
    with capture_logs() as lines:
        assert store.load() == {}
    assert "filed under another name" in lines[0]["reason"]


def test_a_record_that_cannot_be_read_is_no_news(tmp_path: Path) -> None:
    """A disk that fails must not make a model a new one: nothing is loaded then."""
    store = RecordStore(tmp_path)
    store.save(record(model_yaml("m")))
    (tmp_path / "n.json").mkdir()
    with pytest.raises(IsADirectoryError):
        store.load()


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and no half of the new one beside it."""
    store = RecordStore(tmp_path)
    old = record(model_yaml("m"))
    store.save(old)

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.platform.local.record_store.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(replace(old, file="z.yaml"))
    assert [path.name for path in tmp_path.iterdir()] == [record_file("m")]
    assert store.load() == {"m": old}


def test_nothing_is_written_where_another_leads(tmp_path: Path) -> None:
    """Neither a record nor a deletion; reading is free."""
    mine = RecordStore(tmp_path)
    mine.save(record(model_yaml("m")))

    def deposed() -> None:
        raise LeaseLost(8)

    late = RecordStore(tmp_path, deposed)
    with pytest.raises(LeaseLost):
        late.save(record(model_yaml("n")))
    with pytest.raises(LeaseLost):
        late.delete("m")
    assert late.load().keys() == {"m"}

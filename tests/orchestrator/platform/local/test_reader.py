"""A look at the directory costs a look, and the reading of what changed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml

from orchestrator.platform.local import reader as reader_module
from orchestrator.platform.local.directory import Directory
from orchestrator.platform.local.documents import ParsedFile
from orchestrator.platform.local.listing import look
from orchestrator.platform.local.manifests import parse_file
from orchestrator.platform.local.reader import Reader, Unmounted
from tests.orchestrator.platform.local.support import NAMESPACE, model_yaml, replace_file
from tests.orchestrator.waiting import eventually

SECRET = (
    "apiVersion: v1\nkind: Secret\nmetadata: {name: storage-config}\n"
    'stringData:\n  default: |\n    {"type": "s3", "access_key_id": "a", "secret_access_key": "b"}\n'
)


async def test_only_what_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files there are; one that was written a moment ago is read once more."""
    parsed: list[str] = []

    def counting(file: str, content: bytes, namespace: str) -> ParsedFile:
        parsed.append(file)
        return parse_file(file, content, namespace)

    monkeypatch.setattr(reader_module, "parse_file", counting)
    for number in range(100):
        (tmp_path / f"{number}.yaml").write_text(model_yaml(f"m{number}"))
    reader = Reader(tmp_path, Directory(0.0), NAMESPACE)
    assert reader.refresh(0.0).again_s is not None
    newest = max(path.stat().st_ctime for path in tmp_path.iterdir())
    await eventually(lambda: time.time() > newest + 0.3)
    before = reader.refresh(1.0)
    parsed.clear()
    assert reader.refresh(2.0).merged is before.merged
    replace_file(tmp_path / "7.yaml", model_yaml("m7", uri="s3://b/new"))
    reader.refresh(3.0)
    assert parsed == ["7.yaml"]


def test_an_empty_mount_point_is_no_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file system with nothing in it is what an unmounted one leaves behind."""
    (tmp_path / "a.yaml").write_text(model_yaml("a"))
    reader = Reader(tmp_path, Directory(0.0), NAMESPACE)
    assert len(reader.refresh(0.0).merged.objects) == 1
    (tmp_path / "a.yaml").unlink()
    listing = look(tmp_path)
    with monkeypatch.context() as unmounted:
        unmounted.setattr(
            reader_module, "look", lambda _: type(listing)(identity=(-1, 1), files={}, at_ns=listing.at_ns)
        )
        with pytest.raises(Unmounted):
            reader.refresh(1.0)
    assert len(reader.refresh(2.0).merged.objects) == 0


def test_a_file_that_cannot_be_read_keeps_what_it_defined(tmp_path: Path) -> None:
    """A link that leads nowhere is there; it is reported."""
    (tmp_path / "target").write_text(model_yaml("a"))
    (tmp_path / "a.yaml").symlink_to("target")
    reader = Reader(tmp_path, Directory(0.0), NAMESPACE)
    reader.refresh(0.0)
    (tmp_path / "target").unlink()
    merged = reader.refresh(1.0).merged
    assert (len(merged.objects), len(merged.problems)) == (1, 1)


def test_an_error_that_nobody_expected_is_its_files_trouble_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps what it defined, the others are read, and it is said where it happened."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(model_yaml(name))
    reader = Reader(tmp_path, Directory(0.0), NAMESPACE)
    reader.refresh(0.0)

    def parse(file: str, content: bytes, namespace: str) -> ParsedFile:
        if file == "a.yaml":
            raise IndexError("whatever")
        return parse_file(file, content, namespace)

    monkeypatch.setattr(reader_module, "parse_file", parse)
    replace_file(tmp_path / "a.yaml", "a: 1")
    (tmp_path / "c.yaml").write_text(model_yaml("c"))
    merged = reader.refresh(1.0).merged
    assert [identity.name for identity in merged.objects] == ["a", "b", "c"]
    (problem,) = merged.problems
    assert str(problem).startswith("a.yaml: internal error of the orchestrator (IndexError in parse:")


@pytest.mark.parametrize("text", [model_yaml("a"), SECRET, json.dumps(yaml.safe_load(model_yaml("a")))])
def test_no_beginning_of_a_file_deletes_what_the_whole_defined(tmp_path: Path, text: str) -> None:
    """A writer that was interrupted anywhere, at the first byte too; what is no object then is reported with its line."""
    path = tmp_path / ("a.json" if text.startswith("{") else "a.yaml")
    path.write_text(text)
    reader = Reader(tmp_path, Directory(0.0), NAMESPACE)
    (identity,) = reader.refresh(0.0).merged.objects
    whole = reader.refresh(0.0).merged.objects[identity].document.value
    for length in range(len(text)):
        path.write_text(text[:length])
        reader.refresh(2.0 * length + 1)
        merged = reader.refresh(2.0 * length + 2).merged
        assert identity in merged.objects
        assert all(problem.line > 0 for problem in merged.problems)
    path.write_text(text)
    merged = reader.refresh(2.0 * len(text) + 1).merged
    assert (merged.objects[identity].document.value, merged.problems) == (whole, frozenset())

"""What lies in the directory, told without reading it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.platform.local.listing import Signature, look, read
from tests.orchestrator.platform.local.support import replace_file


def test_what_counts_as_a_file(tmp_path: Path) -> None:
    """YAML and JSON of the directory itself, also behind a link; nothing hidden. What is no file says so."""
    for name in ("a.yaml", "b.yml", "c.json", ".hidden.yaml", "a.yaml~", "notes.txt", "yaml"):
        (tmp_path / name).touch()
    (tmp_path / "directory.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("notes.txt")
    (tmp_path / "linked.yaml").symlink_to("directory.yaml")
    files = look(tmp_path).files
    assert {name for name, seen in files.items() if isinstance(seen, Signature)} == {
        "a.yaml",
        "b.yml",
        "c.json",
        "link.yaml",
    }
    assert {name: seen for name, seen in files.items() if isinstance(seen, str)} == {
        "directory.yaml": "a directory; what is below is not read",
        "linked.yaml": "a directory; what is below is not read",
        "pipe.yaml": "not a file",
    }


def test_a_link_that_leads_nowhere_is_there(tmp_path: Path) -> None:
    """A name that cannot be looked at is no name that is gone."""
    (tmp_path / "a.yaml").symlink_to("none")
    (tmp_path / "b.yaml").symlink_to("b.yaml")
    files = look(tmp_path).files
    assert files["a.yaml"] == "a link to a file that is not there"
    assert isinstance(files["b.yaml"], str)


def test_a_signature_tells_a_change(tmp_path: Path) -> None:
    """Of equal length, and with the time of the old file; what was not touched keeps its signature."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("1")
    before = look(tmp_path)
    replace_file(tmp_path / "a.yaml", "2")
    signature = before.files["a.yaml"]
    assert isinstance(signature, Signature)
    os.utime(tmp_path / "a.yaml", ns=(signature.modified_ns, signature.modified_ns))
    after = look(tmp_path)
    assert before.files["a.yaml"] != after.files["a.yaml"]
    assert before.files["b.yaml"] == after.files["b.yaml"]
    assert before.identity == after.identity
    assert before.at_ns <= after.at_ns


@pytest.mark.parametrize(("age_ns", "fresh"), [(0, True), (50_000_000, True), (-50_000_000, True), (10**9, False)])
def test_a_file_that_changed_a_moment_ago_is_fresh(age_ns: int, fresh: bool) -> None:
    """The next write might get the same time stamp; clocks of file servers may be ahead."""
    signature = Signature(device=1, inode=1, size=1, modified_ns=0, changed_ns=10**18)
    assert signature.fresh(10**18 + age_ns) is fresh


def test_another_directory_has_another_identity(tmp_path: Path) -> None:
    """Whatever its path."""
    (tmp_path / "models").mkdir()
    before = look(tmp_path / "models").identity
    (tmp_path / "models").rename(tmp_path / "away")
    (tmp_path / "models").mkdir()
    assert look(tmp_path / "models").identity != before == look(tmp_path / "away").identity


def test_a_directory_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    """Not an empty one."""
    with pytest.raises(FileNotFoundError):
        look(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        look(tmp_path / "file")


def test_reading_is_bounded_and_never_waits(tmp_path: Path) -> None:
    """One byte more than the limit, to tell; a pipe that took a file's place is read without its writer."""
    (tmp_path / "a.yaml").write_bytes(b"12345")
    assert read(tmp_path / "a.yaml", 5) == b"12345"
    assert read(tmp_path / "a.yaml", 3) == b"1234"
    (tmp_path / "a.yaml").unlink()
    os.mkfifo(tmp_path / "a.yaml")
    assert read(tmp_path / "a.yaml", 5) == b""

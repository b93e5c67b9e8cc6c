"""Files move by rename, and the adapter's directories are its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.loader.places import Places, UnusablePlaces
from tests.adapters.world import key


def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "repository", tmp_path / "scratch")
    made.open()
    return made


def test_a_scratch_directory_has_one_adapter(tmp_path: Path) -> None:
    """The second says so; after the first the next may have it."""
    first = places(tmp_path)
    with pytest.raises(UnusablePlaces, match="in use by another adapter"):
        places(tmp_path)
    first.close()
    places(tmp_path).close()


def test_directories_that_cannot_be_made_are_named(tmp_path: Path) -> None:
    """At the start, not at the first load."""
    (tmp_path / "scratch").touch()
    with pytest.raises(UnusablePlaces, match="scratch"):
        places(tmp_path)


def test_two_file_systems_are_refused(tmp_path: Path) -> None:
    """A copy would show the server half a model."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        return
    made = Places(Path("/proc/self/fd"), tmp_path / "scratch")
    with pytest.raises(UnusablePlaces, match="one file system"):
        made.open()
    made.close()


def test_a_disk_that_refuses_the_probe_is_not_taken_for_two(tmp_path: Path) -> None:
    """A full one, or one that fails: in its own words, since moving directories would not help."""
    (tmp_path / "repository/.probe/left").mkdir(parents=True)
    with pytest.raises(UnusablePlaces, match="Directory not empty"):
        places(tmp_path)


def test_aside_and_back(tmp_path: Path) -> None:
    """Back means newer than anything that was there."""
    made = places(tmp_path)
    staged = made.stage()
    (staged / "file").write_text("old")
    made.place(staged, "m", None)
    made.put_aside(key("m"), "the note")
    assert not made.model("m").exists()
    assert made.successor(key("m")).read_text() == "the note"
    staged = made.stage()
    (staged / "file").write_text("new")
    made.place(staged, "m", key("m"))
    newer = (made.model("m") / "file").stat().st_mtime_ns
    made.put_back(key("m"))
    assert (made.model("m") / "file").read_text() == "old"
    assert (made.model("m") / "file").stat().st_mtime_ns > newer
    assert not made.aside(key("m")).exists()
    # It is not known yet whether the server has it back.
    assert made.successor(key("m")).exists()
    made.put_aside(key("m"), "the note")
    made.drop_aside(key("m"))
    assert list((made.scratch / "aside").iterdir()) == []
    made.close()


def test_the_longest_name_is_put_back_too(tmp_path: Path) -> None:
    """A directory's name has no room for anything beside it."""
    made, name = places(tmp_path), "a" * 253
    for text, replaced in (("old", None), ("new", key(name))):
        staged = made.stage()
        (staged / "file").write_text(text)
        made.place(staged, name, replaced)
        if not replaced:
            made.put_aside(key(name), "the note")
    made.put_back(key(name))
    assert (made.model(name) / "file").read_text() == "old"
    assert list((made.scratch / "staging").iterdir()) == []
    made.close()


def test_what_was_being_removed_is_removed_at_the_next_start(tmp_path: Path) -> None:
    """Whatever it was called: an earlier version had the model's name in it."""
    made = places(tmp_path)
    for left in ("m.7/version", "8/version"):
        (made.scratch / "staging" / left).mkdir(parents=True)
    made.sweep(frozenset())
    assert list((made.scratch / "staging").iterdir()) == []
    made.close()


def test_staging_never_reuses_a_directory(tmp_path: Path) -> None:
    """A former adapter's leftovers are stepped over."""
    made = places(tmp_path)
    (tmp_path / "scratch/staging/1").mkdir()
    assert len({made.stage() for _ in range(3)}) == 3
    made.sweep(frozenset())
    assert list((tmp_path / "scratch/staging").iterdir()) == []
    made.close()

"""What a file says, as values."""

from __future__ import annotations

from orchestrator.domain.storage import StorageConfig
from orchestrator.platform.local.documents import Document, Kind, ObjectId, ParsedFile, Problem


def test_a_problem_reads_as_a_compiler_writes_it() -> None:
    """file:line: reason, so that an editor leads there; without a line it is the file's."""
    assert str(Problem("a.yaml", 7, "no")) == "a.yaml:7: no"
    assert str(Problem("a.yaml", 0, "no")) == "a.yaml: no"
    assert str(ObjectId(Kind.MODEL, "m")) == "TrainedModel 'm'"


def test_problems_are_listed_as_they_stand() -> None:
    """By file, then by line: as a number."""
    problems = [Problem("b.yaml", 1, "x"), Problem("a.yaml", 10, "x"), Problem("a.yaml", 9, "y")]
    assert [str(each) for each in sorted(problems)] == ["a.yaml:9: y", "a.yaml:10: x", "b.yaml:1: x"]


def test_an_object_that_moved_within_its_file_is_the_same() -> None:
    """A comment above it changes no object."""
    identity = ObjectId(Kind.SECRET, "storage-config")
    first, moved = (Document(id=identity, line=line, value=StorageConfig({"k": "v"})) for line in (1, 9))
    assert first == moved
    assert first != Document(id=identity, line=1, value=StorageConfig({"k": "w"}))


def test_an_unreadable_file_proves_nothing() -> None:
    """It has a problem, and whatever it defined may still be in it."""
    parsed = ParsedFile.unreadable("a.yaml", 3, "not UTF-8 text")
    assert [str(each) for each in parsed.problems] == ["a.yaml:3: not UTF-8 text"]
    assert parsed.unsure
    assert (parsed.documents, parsed.broken) == ((), {})
    assert not ParsedFile().unsure, "an empty file does prove that nothing is in it"

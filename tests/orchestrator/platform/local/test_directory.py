"""The fold of files."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.platform.local.directory import Directory
from orchestrator.platform.local.documents import Kind, ObjectId, ParsedFile
from orchestrator.platform.local.manifests import parse_file
from tests.orchestrator.platform.local.support import NAMESPACE, model_yaml

SETTLE_S = 0.25


def parsed(file: str, *names: str, broken: str = "", uri: str = "s3://b/m") -> ParsedFile:
    text = "---\n".join(model_yaml(name, uri=uri) for name in names) or "# nothing\n"
    if broken:
        text += "---\n" + model_yaml(broken).replace("memory", "mem")
    return parse_file(file, text.encode(), NAMESPACE)


def holders(directory: Directory) -> dict[str, str]:
    return {identity.name: owned.file for identity, owned in directory.merged().objects.items()}


@pytest.fixture
def directory() -> Directory:
    return Directory(SETTLE_S)


def test_the_first_file_keeps_a_name(directory: Directory) -> None:
    """The other is reported; when the first goes, the other takes over without a gap."""
    directory.update("b.yaml", parsed("b.yaml", "m"), 0)
    directory.update("a.yaml", parsed("a.yaml", "m"), 0)
    assert holders(directory) == {"m": "a.yaml"}
    (problem,) = directory.merged().problems
    assert (problem.file, "a.yaml" in problem.reason) == ("b.yaml", True)
    directory.remove("a.yaml", 1)
    assert holders(directory) == {"m": "b.yaml"}
    assert not directory.merged().problems


def test_within_a_file_the_first_keeps_a_name(directory: Directory) -> None:
    """And the other's line is reported."""
    directory.update("a.yaml", parsed("a.yaml", "m", "m"), 0)
    (problem,) = directory.merged().problems
    assert (holders(directory), problem.line) == ({"m": "a.yaml"}, 12)


def test_a_broken_file_keeps_what_it_defined(directory: Directory) -> None:
    """However long; its problems are there as long as it is broken."""
    directory.update("a.yaml", parsed("a.yaml", "m", "n"), 0)
    directory.update("a.yaml", ParsedFile.unreadable("a.yaml", 3, "broken"), 1)
    directory.settle(100)
    assert {"m", "n"} == holders(directory).keys()
    assert len(directory.merged().problems) == 1
    directory.update("a.yaml", parsed("a.yaml", "m"), 101)
    directory.settle(102)
    assert {"m"} == holders(directory).keys()
    assert not directory.merged().problems


def test_a_broken_document_keeps_its_own_and_nobody_elses(directory: Directory) -> None:
    """A neighbour that is missing in the same file is gone."""
    directory.update("a.yaml", parsed("a.yaml", "m", "n"), 0)
    directory.update("a.yaml", parsed("a.yaml", broken="n"), 1)
    directory.settle(2)
    assert {"n"} == holders(directory).keys()


def test_missing_for_a_moment_is_not_gone(directory: Directory) -> None:
    """Emptied and written anew, or removed and put back, deletes nothing."""
    directory.update("a.yaml", parsed("a.yaml", "m"), 0)
    directory.update("a.yaml", parsed("a.yaml"), 1)
    directory.settle(1 + SETTLE_S / 2)
    assert {"m"} == holders(directory).keys()
    directory.update("a.yaml", parsed("a.yaml", "m"), 1.2)
    directory.remove("a.yaml", 2)
    directory.settle(2.1)
    directory.update("a.yaml", parsed("a.yaml", "m"), 2.2)
    directory.settle(100)
    assert {"m"} == holders(directory).keys()
    assert directory.due() is None


def test_missing_long_enough_is_gone(directory: Directory) -> None:
    """Not before the next look that succeeded."""
    directory.update("a.yaml", parsed("a.yaml", "m"), 0)
    directory.remove("a.yaml", 1)
    assert directory.due() == 1 + SETTLE_S
    assert {"m"} == holders(directory).keys()
    directory.settle(1 + SETTLE_S)
    assert holders(directory) == {}
    assert frozenset() == directory.names


def test_a_document_moves_between_files_without_a_report(directory: Directory) -> None:
    """Whichever file is first by name, nobody sees it twice or not at all."""
    for source, target in (("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")):
        directory.update(source, parsed(source, "m"), 0)
        directory.update(source, parsed(source), 10)
        directory.update(target, parsed(target, "m", uri="s3://b/new"), 10)
        assert {"m": target} == holders(directory)
        assert not directory.merged().problems
        directory.settle(20)
        assert {"m": target} == holders(directory)


def test_what_an_earlier_process_knew(directory: Directory) -> None:
    """A file that is broken at the start keeps what it defined when it could last be read."""
    documents = parsed("a.yaml", "m").documents
    later = Directory(SETTLE_S, {"a.yaml": documents, "b.yaml": parsed("b.yaml", "n").documents})
    later.update("a.yaml", ParsedFile.unreadable("a.yaml", 1, "broken"), 0)
    for name in later.names - {"a.yaml"}:
        later.remove(name, 0)
    later.settle(10)
    assert holders(later) == {"m": "a.yaml"}


@dataclass(frozen=True)
class Write:
    """A step: the file has these models, or is broken, or is removed."""

    file: str
    names: tuple[str, ...] | None
    broken: bool = False


_FILES = st.sampled_from(["a.yaml", "b.yaml", "c.yml"])
_STEPS = st.lists(
    st.builds(Write, _FILES, st.none() | st.lists(st.sampled_from("mno"), max_size=3, unique=True).map(tuple))
    | st.builds(Write, _FILES, st.none(), st.just(True)),
    max_size=20,
)


@given(_STEPS)
def test_the_desired_set_is_the_fold(steps: list[Write]) -> None:
    """After any sequence of writes, breaks and removals: each file's last good content, the first file by name first."""
    directory = Directory(SETTLE_S)
    good: dict[str, tuple[str, ...]] = {}
    there: set[str] = set()
    for moment, step in enumerate(steps):
        now = float(moment)
        before = set(holders(directory))
        if step.broken:
            there.add(step.file)
            directory.update(step.file, ParsedFile.unreadable(step.file, 1, "broken"), now)
            assert before == set(holders(directory))
        elif step.names is None:
            there.discard(step.file)
            good.pop(step.file, None)
            directory.remove(step.file, now)
        else:
            there.add(step.file)
            good[step.file] = step.names
            directory.update(step.file, parsed(step.file, *step.names), now)
        directory.settle(now + 0.5)
    directory.settle(float(len(steps)) + 1)
    expected: dict[str, str] = {}
    for file in sorted(good):
        for name in good[file]:
            expected.setdefault(name, file)
    assert expected == holders(directory)
    assert there == set(directory.names)
    assert all(identity.kind is Kind.MODEL for identity in directory.merged().objects)
    assert ObjectId(Kind.MODEL, "x") not in directory.merged().objects

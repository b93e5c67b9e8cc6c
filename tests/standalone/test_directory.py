"""
The directory of YAML as desired state: what appears, changes, breaks and goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.standalone.manifests import Document, trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.waiting import holds_for, wait_until

#: Long enough for a change of the directory to have been read: an unwanted deletion would show.
_SETTLED_S = 2.5


def failing(name: str, *, mark: str = "") -> Document:
    """A model that needs no runtime: its URI is wrong. `mark` makes it another one."""
    return trained_model(name, f"ftp://nowhere/{mark or name}", "sklearn")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Stack]:
    """A stack for this module: its directory is treated badly. None of its models needs a runtime but one."""
    stack = Stack(tmp_path_factory.mktemp("directory"))
    stack.secret(default=store.entry())
    with stack:
        yield stack


def appears(stack: Stack, *names: str) -> list[Document]:
    """Wait until they are there and have a status; returns them."""
    for name in names:
        stack.wait_condition(name, "InvalidStorageUri")
    listed = stack.listed()
    return [listed[name] for name in names]


def uid(stack: Stack, name: str) -> str:
    """Its uid."""
    found = stack.get(name)
    assert found is not None, f"{name} is gone"
    text: str = found["metadata"]["uid"]
    return text


def reported(stack: Stack, *words: str) -> None:
    """Wait until one line of the output has all the words."""
    wait_until(
        lambda: any(all(w in line for w in words) for line in stack.text().splitlines()),
        lambda: f"no line has {words}\n{stack.tail()}",
        within=10,
    )


@contextmanager
def left_alone(stack: Stack, *names: str) -> Iterator[None]:
    """What happens in the context, and in the moment after it, deletes none of these models, nor makes them anew."""
    before = {name: uid(stack, name) for name in names}
    yield
    holds_for(lambda: {name: uid(stack, name) for name in names} == before, "a model was made anew", seconds=_SETTLED_S)


def test_every_kind_of_file_is_read_and_no_other(stack: Stack) -> None:
    """*.yaml, *.yml and *.json, many documents a file; hidden, nested and other files are not."""
    stack.apply(failing("first"), failing("second"), file="two.yaml")
    stack.apply(failing("third"), file="one.yml")
    stack.write("one.json", json.dumps(failing("fourth")))
    stack.apply(failing("hidden"), file=".hidden.yaml")
    stack.apply(failing("text"), file="notes.txt")
    (stack.directory / "nested").mkdir()
    (stack.directory / "nested" / "model.yaml").write_text(json.dumps(failing("nested")))
    appears(stack, "first", "second", "third", "fourth")
    assert not stack.listed().keys() & {"hidden", "text", "nested"}


def test_rename_over_a_file_is_an_update(stack: Stack) -> None:
    """The object keeps its uid, its generation grows, and the status is of that generation."""
    stack.apply(failing("updated"))
    (before,) = appears(stack, "updated")
    stack.apply(failing("updated", mark="other"))
    wait_until(lambda: "ftp://nowhere/other" in stack.condition("updated").message, "the update did not arrive")
    after = stack.get("updated")
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["creationTimestamp"] == before["metadata"]["creationTimestamp"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert after["status"]["observedGeneration"] == after["metadata"]["generation"]


def test_equal_file_changes_nothing(stack: Stack) -> None:
    """Writing the same again is no update."""
    stack.apply(failing("equal"))
    (before,) = appears(stack, "equal")
    stack.apply(failing("equal"))
    holds_for(lambda: stack.listed()["equal"] == before, "it changed", seconds=_SETTLED_S)


def test_removed_document_and_removed_file_are_deletions(stack: Stack) -> None:
    """One of two documents goes, then the file; a model that comes back has another uid."""
    stack.apply(failing("stays"), failing("goes"), file="pair.yaml")
    appears(stack, "stays", "goes")
    first = uid(stack, "goes")
    with left_alone(stack, "stays"):
        stack.apply(failing("stays"), file="pair.yaml")
        stack.wait_gone("goes")
    stack.apply(failing("stays"), failing("goes"), file="pair.yaml")
    appears(stack, "goes")
    assert uid(stack, "goes") != first
    stack.remove("pair.yaml")
    stack.wait_gone("stays")
    stack.wait_gone("goes")


def test_broken_file_keeps_what_it_defined(stack: Stack) -> None:
    """It is reported with file, line and reason; mending it applies what it says then."""
    stack.apply(failing("fragile"), file="fragile.yaml")
    appears(stack, "fragile")
    with left_alone(stack, "fragile"):
        stack.write("fragile.yaml", "apiVersion: v1\nkind: [unclosed\nmetadata: {}\n")
        reported(stack, "fragile.yaml", "line")
    stack.apply(failing("fragile", mark="mended"), file="fragile.yaml")
    wait_until(lambda: "mended" in stack.condition("fragile").message, "the mended file was not read")


def test_document_that_is_no_such_object_is_reported(stack: Stack) -> None:
    """A TrainedModel without a required field: reported with file and field, and what it defined last stays."""
    stack.apply(failing("required"), failing("beside"), file="required.yaml")
    appears(stack, "required", "beside")
    lame = failing("required")
    del lame["spec"]["model"]["memory"]
    with left_alone(stack, "required", "beside"):
        stack.apply(lame, failing("beside"), file="required.yaml")
        reported(stack, "required.yaml", "memory")


def test_of_two_files_that_define_a_name_the_first_keeps_it(stack: Stack) -> None:
    """The other is reported, and takes over when the first goes."""
    stack.apply(failing("twice", mark="early"), file="a-twice.yaml")
    appears(stack, "twice")
    with left_alone(stack, "twice"):
        stack.apply(failing("twice", mark="late"), file="b-twice.yaml")
        reported(stack, "b-twice.yaml", "twice")
    assert "early" in stack.condition("twice").message
    stack.remove("a-twice.yaml")
    wait_until(lambda: "late" in stack.condition("twice").message, "the second file was not taken up")


def test_other_namespaces_are_reported_and_left_alone(stack: Stack) -> None:
    """Absent or equal to the product's own: taken. Else not, and it is said."""
    ours = failing("ours")
    ours["metadata"]["namespace"] = "wml-serving"
    theirs = failing("theirs")
    theirs["metadata"]["namespace"] = "elsewhere"
    stack.apply(ours, theirs)
    appears(stack, "ours")
    reported(stack, "theirs", "elsewhere")
    assert stack.get("theirs") is None


def test_unreadable_directory_deletes_nothing(stack: Stack) -> None:
    """The directory is away for a while: all models stay, and it is reported; then it is read again."""
    stack.apply(failing("steady"))
    appears(stack, "steady")
    names = list(stack.listed())
    away = stack.directory.with_name("away")
    lines = len(stack.text().splitlines())
    with left_alone(stack, *names):
        stack.directory.rename(away)
        wait_until(
            lambda: any(str(stack.directory) in line for line in stack.text().splitlines()[lines:]),
            lambda: f"not reported\n{stack.tail()}",
            within=10,
        )
    away.rename(stack.directory)
    stack.apply(failing("steady", mark="again"))
    wait_until(lambda: "again" in stack.condition("steady").message, "the directory is not read any more", within=15)


def test_identity_and_status_survive_restarts(make_stack: Callable[..., Stack], models: Models) -> None:
    """
    uid, generation, creationTimestamp and status are as before; a loaded model serves again.

    A file that went while nobody looked is a deletion all the same.
    """
    stack = make_stack()
    stack.apply(failing("broken"), failing("forgotten"), trained_model("good", models.sample("sklearn"), "sklearn"))
    with stack:
        appears(stack, "broken", "forgotten")
        stack.wait_ready("good")
        before = stack.listed()
        with stack.client() as client:
            answer = list(client.classes("good", models.images[:5]))
    stack.delete("forgotten")
    with stack:
        after = stack.listed()
        assert after.keys() == before.keys() - {"forgotten"}
        for name, document in after.items():
            for field in ("uid", "generation", "creationTimestamp"):
                assert document["metadata"][field] == before[name]["metadata"][field]
        assert after["broken"]["status"] == before["broken"]["status"]
        status = after["good"]["status"]
        for field in ("activeRevision", "activeStorageUri", "url", "runtime", "observedGeneration"):
            assert status[field] == before["good"]["status"][field]
        with stack.client() as client:
            assert list(client.classes("good", models.images[:5])) == answer
        stack.wait_condition("good", "Loaded", status="True")

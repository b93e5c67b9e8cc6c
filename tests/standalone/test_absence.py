"""
Law 9 on the running product: what cannot be read, or does not answer, deletes and unloads nothing.

Models on either server answer throughout every test here, and each is in memory once from the first to the last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import pytest

from tests.standalone.faults import kill, wait_started_again
from tests.standalone.manifests import Document, trained_model
from tests.standalone.models import Models
from tests.standalone.processes import frozen
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.waiting import holds_for, wait_until
from tests.standalone.watch import watching

#: Several looks at the directory: an unwanted deletion would show.
_SETTLED_S = 2.5
#: Model → the prober that it is.
NUMBERS: Final = {"sklearn": 1, "onnx": 2}
CUT: Final = ("trainedmodel-sklearn.yaml", "secret-storage-config.yaml")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, store: Store, models: Models) -> Iterator[Stack]:
    """A stack whose directory, Secret and adapters are treated badly. The Secret's text spans lines, so that it can end early."""
    stack = Stack(tmp_path_factory.mktemp("absence"), minds_modes=True)
    stack.secret(default=json.dumps(store.entry(), indent=2))
    stack.apply(
        trained_model("sklearn", models.uri("probe-1.joblib"), "sklearn"),
        trained_model("onnx", models.uri("probe-2.onnx"), "onnx"),
    )
    with stack:
        stack.wait_ready(*NUMBERS)
        yield stack


@pytest.fixture(autouse=True)
def untouched(stack: Stack, models: Models) -> Iterator[None]:
    """No request fails, READY stays True, no model is made anew, unloaded or loaded again."""
    before = {name: identity(stack, name) for name in NUMBERS}
    with watching(stack, models, *NUMBERS) as watch:
        yield
        holds_for(lambda: still(stack, before), "a model changed", seconds=_SETTLED_S)
    watch.readiness.check(*NUMBERS)
    assert {name: watch.witness.phases(name) for name in NUMBERS} == {name: [n] for name, n in NUMBERS.items()}
    lines = [line for line in stack.text().splitlines() if "copy_loaded" in line or "copy_unloaded" in line]
    assert len(lines) == len(NUMBERS), lines


def identity(stack: Stack, name: str) -> tuple[str, int]:
    document = stack.get(name)
    assert document is not None, f"{name} is gone"
    return document["metadata"]["uid"], document["metadata"]["generation"]


def still(stack: Stack, before: dict[str, tuple[str, int]]) -> bool:
    return {name: identity(stack, name) for name in NUMBERS} == before and {
        stack.condition(name).status for name in NUMBERS
    } == {"True"}


def reported(stack: Stack, since: int, *words: str) -> None:
    """Wait until a line of the output after so many has all the words."""
    wait_until(
        lambda: any(all(word in line for word in words) for line in stack.text().splitlines()[since:]),
        lambda: f"no line has {words}\n{stack.tail()}",
    )


def lines(stack: Stack) -> int:
    return len(stack.text().splitlines())


def by_a_file(stack: Stack) -> Callable[[], None]:
    stack.directory.write_text("not a directory")
    return stack.directory.unlink


def by_a_link_to_nothing(stack: Stack) -> Callable[[], None]:
    stack.directory.symlink_to(stack.directory.with_name("nowhere"))
    return stack.directory.unlink


def test_a_directory_that_is_none_any_more(stack: Stack) -> None:
    """It is reported with the reason; mended, it is read again."""
    away = stack.directory.with_name("away")
    for replaced in (by_a_file, by_a_link_to_nothing):
        since = lines(stack)
        stack.directory.rename(away)
        mend = replaced(stack)
        reported(stack, since, "directory_unreadable", str(stack.directory))
        mend()
        away.rename(stack.directory)
        reported(stack, since, "directory_usable")


def test_what_may_not_be_read(stack: Stack) -> None:
    """The directory may not be listed; or it may, and nothing in it be looked at; or a file in it may not be opened."""
    before = {name: identity(stack, name) for name in NUMBERS}
    file = stack.directory / CUT[0]
    unlisted, unread = ("directory_unreadable", str(stack.directory)), ("manifest_invalid", file.name)
    for path, mode, words, mended in (
        (stack.directory, 0o300, unlisted, "directory_usable"),
        (stack.directory, 0o600, unread, "manifest_mended"),
        (file, 0o200, unread, "manifest_mended"),
    ):
        since, usual = lines(stack), path.stat().st_mode
        path.chmod(mode)
        reported(stack, since, *words, "Permission denied")
        holds_for(lambda: still(stack, before), "a model changed", seconds=1.0)
        path.chmod(usual)
        reported(stack, since, mended)


def test_a_directory_that_is_replaced_is_empty_for_a_moment(stack: Stack) -> None:
    """As by an unpacked archive: another directory, whose files come one after the other."""
    away = stack.directory.with_name("away")
    stack.directory.rename(away)
    stack.directory.mkdir()
    for file in away.iterdir():
        file.rename(stack.directory / file.name)
    away.rmdir()
    since = lines(stack)
    stack.apply(wrong("probe"))
    stack.wait_condition("probe", "InvalidStorageUri")
    assert "directory_unreadable" not in "\n".join(stack.text().splitlines()[since:])
    stack.delete("probe")
    stack.wait_gone("probe")


def wrong(name: str) -> Document:
    """A model that needs no runtime."""
    return trained_model(name, "ftp://nowhere", "sklearn")


def test_files_that_end_early(stack: Stack) -> None:
    """With no byte, in the head, in the middle: reported with file, line and reason; they keep what they defined."""
    before = {name: identity(stack, name) for name in NUMBERS}
    for share in (0.0, 0.3, 0.6):
        with cut(stack, share):
            holds_for(lambda: still(stack, before), "a model changed", seconds=1.0)


@contextmanager
def cut(stack: Stack, share: float) -> Iterator[None]:
    """The files of the Secret and of a model end after so much of them, until the context ends."""
    whole, since = {file: (stack.directory / file).read_text() for file in CUT}, lines(stack)
    for file, text in whole.items():
        stack.write(file, text[: int(share * len(text))])
        reported(stack, since, "manifest_invalid", file, '"line": ', '"reason": ')
    yield
    for file, text in whole.items():
        stack.write(file, text)
        reported(stack, since, "manifest_mended", file)


def test_a_secret_whose_text_ends_early_is_no_reason_to_unload(stack: Stack, store: Store) -> None:
    """The file is whole, what it says is not: new models cannot be loaded, those in memory serve on."""
    stack.secret(default=json.dumps(store.entry(), indent=2)[:40])
    wait_until(lambda: stack.condition("onnx", "UpToDate").reason == "StorageConfigInvalid", "it was not read")
    stack.secret(default=json.dumps(store.entry(), indent=2))
    wait_until(lambda: stack.condition("onnx", "UpToDate").status == "True", "it was not read again")


def test_what_cannot_be_read_when_the_controller_starts(stack: Stack) -> None:
    """
    Not the directory: it does nothing until it can. Then not the Secret, of which nothing is on disk.

    What is in memory serves on without either.
    """
    controller, away = stack.processes("controller"), stack.directory.with_name("away")
    with cut(stack, 0.5):
        stack.directory.rename(away)
        mend, since = by_a_file(stack), lines(stack)
        kill(*controller)
        reported(stack, since, "directory_unreadable", str(stack.directory))
        # Adapters are heard by then, and Envoy would have followed.
        holds_for(lambda: not reads(stack), "it takes the directory for empty", seconds=_SETTLED_S)
        mend()
        away.rename(stack.directory)
        wait_started_again(stack, controller)
        for file in CUT:
            reported(stack, since, "manifest_invalid", file)
        for name in NUMBERS:
            wait_until(partial(up_to_date, stack, name, "False"), "the Secret is not missed")
    for name in NUMBERS:
        wait_until(partial(up_to_date, stack, name, "True"), "it was not read again")


def up_to_date(stack: Stack, name: str, status: str) -> bool:
    """Whether its condition UpToDate is that."""
    return stack.condition(name, "UpToDate").status == status


def reads(stack: Stack) -> bool:
    """Whether its controller says that it knows what is wanted."""
    try:
        stack.listed()
    except OSError:
        return False
    return True


def test_adapters_that_do_not_answer(stack: Stack) -> None:
    """Until the controller takes them for silent, and back: what they hold is unknown meanwhile, not gone."""
    since = lines(stack)
    with frozen(*stack.processes("adapter")):
        reported(stack, since, "adapter_silent", "mlserver-0.x")
        reported(stack, since, "adapter_silent", "triton-2.x")
        holds_for(lambda: {stack.condition(n).status for n in NUMBERS} == {"True"}, "not READY", seconds=1.0)
    wait_until(
        lambda: all(c["state"] == "Loaded" for n in NUMBERS for c in (stack.get(n) or {})["live"]["copies"]),
        "they are not heard again",
    )

"""
Law 9 on the running product: what cannot be read, or does not answer, deletes and unloads nothing.

Models on either server answer throughout every test here, and each is in memory once from the first to the last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.standalone.manifests import Document, trained_model
from tests.standalone.models import Models
from tests.standalone.processes import frozen
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import holds_for, wait_until

#: Several looks at the directory: an unwanted deletion would show.
_SETTLED_S = 2.5
NAMES = ("sklearn", "onnx")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, store: Store, models: Models) -> Iterator[Stack]:
    """A stack whose directory, Secret and adapters are treated badly. The Secret's text spans lines, so that it can end early."""
    stack = Stack(tmp_path_factory.mktemp("absence"))
    stack.secret(default=json.dumps(store.entry(), indent=2))
    stack.apply(
        trained_model("sklearn", models.uri("probe-1.joblib"), "sklearn"),
        trained_model("onnx", models.uri("probe-2.onnx"), "onnx"),
    )
    with stack:
        stack.wait_ready(*NAMES)
        yield stack


@pytest.fixture(autouse=True)
def untouched(stack: Stack, models: Models) -> Iterator[None]:
    """No request fails, READY stays True, no model is made anew, unloaded or loaded again."""
    before = {name: identity(stack, name) for name in NAMES}
    with (
        Traffic(stack.target, "sklearn", models.probes, models.probe_labels + 100) as sklearn,
        Traffic(stack.target, "onnx", models.probes, models.probe_labels + 200) as onnx,
    ):
        yield
        holds_for(lambda: still(stack, before), "a model changed", seconds=_SETTLED_S)
        wait_until(lambda: sklearn.answered and onnx.answered, "nothing was answered")
    sklearn.check()
    onnx.check()
    lines = [line for line in stack.text().splitlines() if "copy_loaded" in line or "copy_unloaded" in line]
    assert len(lines) == len(NAMES), lines


def identity(stack: Stack, name: str) -> tuple[str, int]:
    document = stack.get(name)
    assert document is not None, f"{name} is gone"
    return document["metadata"]["uid"], document["metadata"]["generation"]


def still(stack: Stack, before: dict[str, tuple[str, int]]) -> bool:
    return {name: identity(stack, name) for name in NAMES} == before and {
        stack.condition(name).status for name in NAMES
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


@pytest.mark.parametrize("replaced", [by_a_file, by_a_link_to_nothing])
def test_a_directory_that_is_none_any_more(stack: Stack, replaced: Callable[[Stack], Callable[[], None]]) -> None:
    """It is reported with the reason; mended, it is read again."""
    since = lines(stack)
    away = stack.directory.with_name("away")
    stack.directory.rename(away)
    mend = replaced(stack)
    reported(stack, since, "directory_unreadable", str(stack.directory))
    mend()
    away.rename(stack.directory)
    reported(stack, since, "directory_usable")


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


@pytest.mark.parametrize("file", ["trainedmodel-sklearn.yaml", "secret-storage-config.yaml"])
def test_a_file_that_ends_early(stack: Stack, file: str) -> None:
    """With no byte, in its head, in its middle: reported with file, line and reason; it keeps what it defined."""
    whole, before = (stack.directory / file).read_text(), {name: identity(stack, name) for name in NAMES}
    for share in (0.0, 0.3, 0.6):
        since = lines(stack)
        stack.write(file, whole[: int(share * len(whole))])
        reported(stack, since, "manifest_invalid", file, '"line": ', '"reason": ')
        holds_for(lambda: still(stack, before), "a model changed", seconds=1.0)
        stack.write(file, whole)
        reported(stack, since, "manifest_mended", file)


def test_a_secret_whose_text_ends_early_is_no_reason_to_unload(stack: Stack, store: Store) -> None:
    """The file is whole, what it says is not: new models cannot be loaded, those in memory serve on."""
    stack.secret(default=json.dumps(store.entry(), indent=2)[:40])
    wait_until(lambda: stack.condition("onnx", "UpToDate").reason == "StorageConfigInvalid", "it was not read")
    stack.secret(default=json.dumps(store.entry(), indent=2))
    wait_until(lambda: stack.condition("onnx", "UpToDate").status == "True", "it was not read again")


def test_adapters_that_do_not_answer(stack: Stack) -> None:
    """Until the controller takes them for silent, and back: what they hold is unknown meanwhile, not gone."""
    since = lines(stack)
    with frozen(*stack.processes("adapter")):
        reported(stack, since, "adapter_silent", "mlserver-0.x")
        reported(stack, since, "adapter_silent", "triton-2.x")
        holds_for(lambda: {stack.condition(n).status for n in NAMES} == {"True"}, "not READY", seconds=1.0)
    wait_until(
        lambda: all(c["state"] == "Loaded" for n in NAMES for c in (stack.get(n) or {})["live"]["copies"]),
        "they are not heard again",
    )

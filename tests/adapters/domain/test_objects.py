"""Keys of a stranger become files, or are refused."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure
from adapters.domain.objects import Listing, StoredObject, files, paths, prefix_of


def listing(*keys: str, single: bool = False) -> Listing:
    return Listing(objects=tuple(StoredObject(key=key, size=1, etag="e") for key in keys), single=single)


def relative(*keys: str, path: str = "p") -> tuple[str, ...]:
    return paths(files(listing(*keys), path, "s3://b/p"))


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("p/../x", "'..'"),
        ("p/a/../../x", "'..'"),
        ("p/./x", "'.'"),
        ("p//x", "absolute"),
        ("p/a//x", "empty path segment"),
        ("p/a/", "empty path segment"),
        ("p/a\0b", "control characters"),
        ("p/a\nb", "control characters"),
        ("p/a\x7fb", "control characters"),
        ("p/" + "x" * 256, "longer than 255"),
        ("p/" + "é" * 128, "longer than 255"),
        ("p/" + "x/" * 600 + "x", "longer than 1024"),
        ("p/\ud800", "UTF-8"),
        ("p/" + "x/" * 64 + "x", "nested more than 64 deep"),
        ("elsewhere", "not below"),
        ("p", "not below"),
        ("prefix/x", "not below"),
    ],
)
def test_hostile_keys_are_refused_by_name(key: str, problem: str) -> None:
    """The message says which key, why, and what to do."""
    with pytest.raises(LoadFailure) as caught:
        relative("p/fine", key)
    assert caught.value.failure.reason is Reason.INVALID_MODEL_LAYOUT
    assert problem in caught.value.failure.message
    assert caught.value.failure.message.startswith("s3://b/p: object key ")


@pytest.mark.parametrize("keys", [("p/a", "p/a/b"), ("p/a/b/c", "p/a"), ("p/a", "p/a")])
def test_a_name_is_one_file_or_one_directory(keys: tuple[str, ...]) -> None:
    """S3 allows both; a file system does not."""
    with pytest.raises(LoadFailure, match=r"listed twice|which is a file itself"):
        relative(*keys)


def test_a_prefix_takes_what_is_below_it_and_an_object_its_own_name() -> None:
    """In sorted order, whatever the store's."""
    assert relative("p/b", "p/a/c", "p/a-") == ("a-", "a/c", "b")
    assert paths(files(listing("x/y/model.onnx", single=True), "x/y/model.onnx", "s3://b/x")) == ("model.onnx",)
    assert relative("a", "b/c", path="") == ("a", "b/c")


@pytest.mark.parametrize(("path", "prefix"), [("a", "a/"), ("a/", "a/"), ("a/b//", "a/b/"), ("", ""), ("/", "")])
def test_a_prefix_ends_with_one_slash(path: str, prefix: str) -> None:
    """So that `model` never matches `model-2`."""
    assert prefix_of(path) == prefix


@given(st.lists(st.text(max_size=12).map(lambda text: "p/" + text), max_size=5))
def test_whatever_is_accepted_stays_below_its_directory(keys: list[str]) -> None:
    """No accepted path is absolute, climbs, or names another's parent."""
    try:
        accepted = relative(*keys)
    except LoadFailure:
        return
    assert len(accepted) == len(keys)
    for path in accepted:
        pure = PurePosixPath(path)
        assert not pure.is_absolute()
        assert ".." not in pure.parts
        assert str(pure) == path
        assert not any(str(parent) in accepted for parent in pure.parents)


def test_the_fingerprint_changes_with_any_object_and_not_with_their_order() -> None:
    """It decides whether a failed source is worth another try."""
    one = StoredObject(key="a", size=1, etag="x")
    two = StoredObject(key="b", size=2, etag="y")

    def print_of(*objects: StoredObject) -> str:
        return Listing(objects=objects, single=False).fingerprint

    assert print_of(one, two) == print_of(two, one)
    changed = {
        print_of(one),
        print_of(one, StoredObject(key="b", size=2, etag="z")),
        print_of(one, StoredObject(key="b", size=3, etag="y")),
        print_of(one, StoredObject(key="c", size=2, etag="y")),
    }
    assert len(changed | {print_of(one, two)}) == 5

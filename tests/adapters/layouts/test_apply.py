"""A plan becomes a directory, complete before it has a place."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from adapters.domain.errors import LoadFailure
from adapters.layouts import triton
from adapters.layouts.apply import lay_out
from adapters.layouts.plan import MAX_CONFIG_BYTES, Target

TARGET = Target(name="m", framework="onnx", directory=PurePosixPath("/repo/m"), uri="s3://b/p")


def write(root: Path, **contents: bytes) -> tuple[str, ...]:
    for path, content in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return tuple(sorted(contents))


def test_files_move_and_configuration_is_written(tmp_path: Path) -> None:
    """What the layout does not need stays behind; nothing is copied."""
    source = tmp_path / "source"
    paths = write(source, **{"1/model.onnx": b"old", "2/model.onnx": b"new", "notes": b"n"})
    lay_out(triton.plan, source, paths, tmp_path / "model", TARGET)
    assert (tmp_path / "model/2/model.onnx").read_bytes() == b"new"
    assert b"onnxruntime" in (tmp_path / "model/config.pbtxt").read_bytes()
    assert not (source / "2/model.onnx").exists()
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["2", "config.pbtxt"]


def test_a_native_configuration_is_read_from_the_files(tmp_path: Path) -> None:
    """Also one directory down."""
    source = tmp_path / "source"
    paths = write(source, **{"w/1/model.onnx": b"x", "w/config.pbtxt": b'name: "theirs" max_batch_size: 3'})
    lay_out(triton.plan, source, paths, tmp_path / "model", TARGET)
    assert (tmp_path / "model/config.pbtxt").read_bytes().strip() == b"max_batch_size: 3"


def test_an_object_without_a_byte_is_no_model(tmp_path: Path) -> None:
    """As an upload leaves behind that came to nothing."""
    source = tmp_path / "source"
    paths = write(source, **{"model.onnx": b""})
    with pytest.raises(LoadFailure, match=r"'model\.onnx' is empty"):
        lay_out(triton.plan, source, paths, tmp_path / "model", TARGET)


def test_a_configuration_of_megabytes_is_none(tmp_path: Path) -> None:
    """It is not read into memory."""
    source = tmp_path / "source"
    paths = write(source, **{"config.pbtxt": b" " * (MAX_CONFIG_BYTES + 1), "model.onnx": b"x"})
    with pytest.raises(LoadFailure, match="larger than"):
        lay_out(triton.plan, source, paths, tmp_path / "model", TARGET)

"""Layouts by the planners, from no more than paths and one configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import pytest

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure
from adapters.layouts import mlserver, triton
from adapters.layouts.plan import Layout, ModelFiles, Target


def lay_triton(framework: str, *paths: str, config: bytes | None = None, empty: Iterable[str] = ()) -> Layout:
    configs = {path: config or b"" for path in paths if path.rsplit("/", 1)[-1] == "config.pbtxt"}
    target = Target(name="m", framework=framework, directory=PurePosixPath("/repo/m"), uri="s3://b/p")
    return triton.plan(ModelFiles(paths=tuple(sorted(paths)), configs=configs, empty=frozenset(empty)), target)


def lay_mlserver(
    framework: str, *paths: str, settings: dict[str, Any] | bytes | None = None, empty: Iterable[str] = ()
) -> Layout:
    content = settings if isinstance(settings, bytes) else json.dumps(settings or {}).encode()
    configs = {path: content for path in paths if path.rsplit("/", 1)[-1] == "model-settings.json"}
    target = Target(name="mine", framework=framework, directory=PurePosixPath("/repo/mine"), uri="s3://b/p")
    return mlserver.plan(ModelFiles(paths=tuple(sorted(paths)), configs=configs, empty=frozenset(empty)), target)


def refuses_empty(lay: Callable[..., Layout], framework: str, source: Sequence[str], empty: str) -> None:
    """The model itself may not be without a byte; the other files may, and so may what is of a framework of nobody's."""
    with pytest.raises(LoadFailure) as caught:
        lay(framework, *source, empty=[empty])
    failure = caught.value.failure
    assert failure.reason is Reason.INVALID_MODEL_LAYOUT
    assert failure.message == f"s3://b/p: '{empty}' is empty; expected a file with the model in it"
    assert lay(framework, *source, empty=set(source) - {empty}).moves
    assert lay("custom", *source, empty=[empty]).moves

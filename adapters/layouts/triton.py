"""
Triton's repository: <name>/config.pbtxt and <name>/<version>/<the framework's file or directory>.

Users bring anything from a bare file to a finished repository directory. Rules,
in this order: a directory with a `config.pbtxt` is native; of version directories
(numbers) the largest counts; a directory that is the only entry is looked into;
the remaining files are the model, in version 1.

Inputs and outputs are left to Triton's auto-completion. Nothing here depends
on which build of a backend answers to its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from adapters.domain.errors import LoadFailure
from adapters.domain.texts import some
from adapters.layouts.pbtxt import BadConfig, without_name
from adapters.layouts.plan import Layout, ModelFiles, Target, below, directories, invalid, refuse_empty, top

CONFIG: Final = "config.pbtxt"

#: Triton ignores directories whose number begins with 0.
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """File and directory names of one framework's models below a version directory."""

    #: Name of a model that is one file.
    file: str
    #: Name of a model that is a directory; "" = its files are the version's.
    directory: str
    #: File that such a directory must hold.
    main: str
    #: Endings by which a file of another name is recognised as the main one.
    endings: tuple[str, ...]
    #: Fields of config.pbtxt for a file and for a directory.
    file_config: str
    directory_config: str


_FORMS: Final = {
    "tensorflow": _Form(
        file="model.graphdef",
        directory="model.savedmodel",
        main="saved_model.pb",
        endings=(".pb", ".pbtxt"),
        file_config='platform: "tensorflow_graphdef"\nbackend: "tensorflow"\n',
        directory_config='platform: "tensorflow_savedmodel"\nbackend: "tensorflow"\n',
    ),
    "onnx": _Form(
        file="model.onnx",
        directory="model.onnx",
        main="model.onnx",
        endings=(".onnx",),
        file_config='backend: "onnxruntime"\n',
        directory_config='backend: "onnxruntime"\n',
    ),
    "tensorrt": _Form(
        file="model.plan",
        directory="",
        main="model.plan",
        endings=(".plan", ".engine"),
        file_config='backend: "tensorrt"\n',
        directory_config='backend: "tensorrt"\n',
    ),
    "pytorch": _Form(
        file="model.pt",
        directory="",
        main="model.pt",
        endings=(".pt", ".pth"),
        file_config='backend: "pytorch"\n',
        directory_config='backend: "pytorch"\n',
    ),
}

#: One instance: Triton's default is two on a CPU, and each is a whole copy of the model.
_INSTANCES: Final = "instance_group [{ count: 1 }]\n"


def plan(files: ModelFiles, target: Target) -> Layout:
    """
    The repository directory for `files`.

    Raises LoadFailure (InvalidModelLayout).
    """
    form = _FORMS.get(target.framework.lower().split(":", 1)[0])
    prefix = _wrapping(files.paths, known=form is not None)
    paths = below(files.paths, prefix[:-1]) if prefix else files.paths
    if not paths:
        raise invalid(target, "there are no files", "a model")
    if CONFIG in paths:
        return _native(files, prefix, paths, form, target)
    version, moves, is_directory = _versioned(paths, form, target)
    layout = tuple((prefix + source, f"{version}/{to}") for source, to in moves)
    if form is None:
        return Layout(moves=layout)
    refuse_empty(layout, _main_places(version, form), files, target)
    config = (form.directory_config if is_directory else form.file_config) + _INSTANCES
    return Layout(moves=layout, writes=((CONFIG, config.encode()),))


def _native(files: ModelFiles, prefix: str, paths: tuple[str, ...], form: _Form | None, target: Target) -> Layout:
    try:
        config = without_name(files.configs[prefix + CONFIG])
    except BadConfig as error:
        raise invalid(target, f"{prefix}{CONFIG}: {error}", "Triton's model configuration") from None
    rest = tuple(path for path in paths if path != CONFIG)
    if any(_VERSION.fullmatch(name) for name in directories(rest)):
        moves = tuple((prefix + path, path) for path in rest)
    elif rest:
        version, versioned, _ = _versioned(rest, form, target)
        moves = tuple((prefix + source, f"{version}/{to}") for source, to in versioned)
        if form is not None:
            refuse_empty(moves, _main_places(version, form), files, target)
    else:
        raise invalid(target, f"there is nothing but {CONFIG}", "a model beside it, or in version directories")
    return Layout(moves=moves, writes=((CONFIG, config),))


def _wrapping(paths: tuple[str, ...], *, known: bool) -> str:
    """The directory around a native or versioned model, as a prefix; "" if there is none."""
    names = directories(paths)
    if not known or top(paths) or len(names) != 1 or _VERSION.fullmatch(names[0]):
        return ""
    inside = below(paths, names[0])
    if CONFIG in inside or _all_versions(inside):
        return names[0] + "/"
    return ""


def _all_versions(paths: tuple[str, ...]) -> bool:
    names = directories(paths)
    return bool(names) and all(_VERSION.fullmatch(name) for name in names)


def _versioned(
    paths: tuple[str, ...], form: _Form | None, target: Target
) -> tuple[str, tuple[tuple[str, str], ...], bool]:
    """The version, the moves below it, and whether the model is a directory."""
    version, prefix = "1", ""
    if _all_versions(paths):
        version = max(directories(paths), key=int)
        prefix = version + "/"
        paths = below(paths, version)
    if form is None:
        return version, tuple((prefix + path, path) for path in paths), len(paths) > 1
    names = directories(paths)
    if len(paths) == 1 and not names:
        return version, ((prefix + paths[0], form.file),), False
    if not top(paths) and len(names) == 1:
        prefix += names[0] + "/"
        paths = below(paths, names[0])
    main = _main(paths, form)
    if main is None:
        # Files beside a model that is named as it should be: labels, licences.
        if form.directory in directories(paths) or form.file in top(paths):
            moves = tuple((prefix + path, path) for path in paths)
            return version, moves, form.file not in top(paths)
        raise _no_main(paths, form, target)
    inside = f"{form.directory}/" if form.directory else ""
    moves = tuple((prefix + path, inside + (form.main if path == main else path)) for path in paths)
    return version, moves, True


def _main_places(version: str, form: _Form) -> tuple[str, ...]:
    """Where the backend looks for the model: a file, or the main one of a directory."""
    return (f"{version}/{form.file}", f"{version}/{form.directory}/{form.main}")


def _main(paths: tuple[str, ...], form: _Form) -> str | None:
    """The file that the backend opens first; whatever its name, it will be `form.main`."""
    files = top(paths)
    if form.main in files or (form.main == "saved_model.pb" and "saved_model.pbtxt" in files):
        return form.main
    candidates = _candidates(paths, form)
    return candidates[0] if len(candidates) == 1 and form.main not in directories(paths) else None


def _candidates(paths: tuple[str, ...], form: _Form) -> tuple[str, ...]:
    return tuple(path for path in top(paths) if path.endswith(form.endings))


def _no_main(paths: tuple[str, ...], form: _Form, target: Target) -> LoadFailure:
    candidates = _candidates(paths, form)
    seen = (*top(paths), *(f"{name}/" for name in directories(paths)))
    what = f"{len(candidates)} files could be the model" if candidates else "no file is the model"
    return invalid(
        target,
        f"{what} ({some(candidates or seen)})",
        f"one file, or a directory with {form.main!r} or a single *{form.endings[0]}",
    )

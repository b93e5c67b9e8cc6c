"""
MLServer's repository: <name>/model-settings.json, with `parameters.uri` naming the model.

A directory with a `model-settings.json` is native: in the settings the name is
replaced by the TrainedModel's, the URI made absolute and the version dropped
(MLServer replaces a loaded model by a new one only if neither has a version).
Otherwise the settings are generated, and the files of a prefix go into a
directory of their own below.

MLServer reads every model-settings.json in the whole repository, and loads all
that carry the name it was asked for. A file below the top could carry another
model's name, so it is refused.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from typing import Any, Final

from adapters.domain.texts import clean, some
from adapters.layouts.plan import Layout, ModelFiles, Target, below, directories, invalid, refuse_empty, top

SETTINGS: Final = "model-settings.json"

#: Where the files of a prefix go.
_MODEL: Final = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How MLServer finds the model file of one framework."""

    implementation: str
    #: Names that MLServer looks for in a directory.
    wellknown: tuple[str, ...]
    #: Endings by which a file of another name is recognised.
    endings: tuple[str, ...]


_FORMS: Final = {
    "sklearn": _Form(
        implementation="mlserver_sklearn.SKLearnModel",
        wellknown=("model.joblib", "model.pickle", "model.pkl"),
        endings=(".joblib", ".pickle", ".pkl"),
    ),
    "xgboost": _Form(
        implementation="mlserver_xgboost.XGBoostModel",
        wellknown=("model.bst", "model.json", "model.ubj"),
        endings=(".bst", ".json", ".ubj"),
    ),
    "lightgbm": _Form(
        implementation="mlserver_lightgbm.LightGBMModel",
        wellknown=("model.bst",),
        endings=(".bst", ".txt"),
    ),
}


def plan(files: ModelFiles, target: Target) -> Layout:
    """
    The repository directory for `files`.

    Raises LoadFailure (InvalidModelLayout).
    """
    form = _FORMS.get(target.framework.lower().split(":", 1)[0])
    prefix = _wrapping(files.paths)
    paths = below(files.paths, prefix[:-1]) if prefix else files.paths
    if not paths:
        raise invalid(target, "there are no files", "a model")
    # A directory of that name as well: MLServer would try to read it.
    nested = [path for path in paths if SETTINGS in path.split("/") and path != SETTINGS]
    if nested:
        raise invalid(target, f"{some(nested)} is below the top", f"one {SETTINGS}, at the top, or none")
    if SETTINGS in paths:
        return _native(files, prefix, paths, form, target)
    moves, uri = _generated(paths, form, target)
    if form is not None:
        # In a directory MLServer takes the first of the well-known names.
        named = next((name for name in form.wellknown if name in paths), "")
        main = uri if uri != _MODEL else f"{_MODEL}/{named}"
        refuse_empty(((prefix + source, to) for source, to in moves), (main,), files, target)
    settings: dict[str, Any] = {"name": target.name}
    if form is not None:
        settings["implementation"] = form.implementation
    settings["parameters"] = {"uri": str(target.directory / uri)}
    return Layout(moves=tuple((prefix + source, to) for source, to in moves), writes=((SETTINGS, _encode(settings)),))


def _wrapping(paths: tuple[str, ...]) -> str:
    """The directory around a native model, as a prefix; "" if there is none."""
    names = directories(paths)
    if not top(paths) and len(names) == 1 and f"{names[0]}/{SETTINGS}" in paths:
        return names[0] + "/"
    return ""


def _generated(paths: tuple[str, ...], form: _Form | None, target: Target) -> tuple[tuple[tuple[str, str], ...], str]:
    """The moves, and the model's path in the directory."""
    if len(paths) == 1:
        name = paths[0].rsplit("/", 1)[-1]
        return ((paths[0], f"{_MODEL}/{name}"),), f"{_MODEL}/{name}"
    moves = tuple((path, f"{_MODEL}/{path}") for path in paths)
    if form is None or any(name in paths for name in form.wellknown):
        return moves, _MODEL
    candidates = [path for path in paths if path.endswith(form.endings)]
    if len(candidates) == 1:
        return moves, f"{_MODEL}/{candidates[0]}"
    what = f"{len(candidates)} files could be the model" if candidates else "no file is the model"
    raise invalid(
        target,
        f"{what} ({some(candidates or paths)})",
        f"one file, a {SETTINGS}, or a directory with {' or '.join(repr(name) for name in form.wellknown)} "
        f"or a single {' or '.join('*' + ending for ending in form.endings)}",
    )


def _native(files: ModelFiles, prefix: str, paths: tuple[str, ...], form: _Form | None, target: Target) -> Layout:
    where = prefix + SETTINGS
    rest = tuple(path for path in paths if path != SETTINGS)
    settings = _parse(files.configs[where], where, target)
    settings["name"] = target.name
    if form is not None and not settings.get("implementation"):
        settings["implementation"] = form.implementation
    parameters = settings.get("parameters")
    if parameters is not None:
        if not isinstance(parameters, dict):
            raise invalid(target, f"{where}: 'parameters' is no object", "MLServer's model settings")
        settings["parameters"] = parameters = {k: v for k, v in parameters.items() if k != "version"}
        if parameters.get("uri"):
            parameters["uri"] = _resolve(parameters["uri"], rest, where, target)
    if not rest and form is not None:
        raise invalid(target, f"there is nothing but {SETTINGS}", "a model beside it")
    return Layout(moves=tuple((prefix + path, path) for path in rest), writes=((SETTINGS, _encode(settings)),))


def _resolve(uri: Any, paths: tuple[str, ...], where: str, target: Target) -> str:
    """`uri`, which must name something beside the settings, as an absolute path."""
    expected = "a path relative to the file, of a file or directory that is there"
    if not isinstance(uri, str):
        raise invalid(target, f"{where}: 'parameters.uri' is no string", expected)
    path = posixpath.normpath(uri)
    outside = path.startswith(("/", "../")) or path == ".." or "://" in uri or "\0" in uri
    if outside:
        raise invalid(target, f"{where}: 'parameters.uri' is {clean(repr(uri), limit=120)}", expected)
    if path != "." and path not in paths and not below(paths, path):
        raise invalid(
            target, f"{where}: 'parameters.uri' names {clean(repr(uri), limit=120)}, there is {some(paths)}", expected
        )
    return str(target.directory / path)


def _parse(content: bytes, where: str, target: Target) -> dict[str, Any]:
    expected = "MLServer's model settings, a JSON object"
    try:
        settings = json.loads(content)
    except json.JSONDecodeError as error:
        problem = f"{where}: line {error.lineno}, column {error.colno}: {error.msg}"
        raise invalid(target, problem, expected) from None
    except (ValueError, RecursionError):
        raise invalid(target, f"{where}: not valid JSON", expected) from None
    if not isinstance(settings, dict):
        raise invalid(target, f"{where}: not an object", expected)
    return settings


def _encode(settings: dict[str, Any]) -> bytes:
    return json.dumps(settings, indent=2).encode() + b"\n"

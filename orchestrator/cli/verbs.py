"""
The user's verbs, `get` and `describe`: read the admin API, print what kubectl would.

Exit codes: 0 well, 1 not found or no answer, 2 wrong use (argparse's).
"""

from __future__ import annotations

import http.client
import json
import sys
import urllib.error
import urllib.request
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import yaml

from orchestrator.cli.table import describe, models_table
from orchestrator.domain.trained_model import KIND

_TIMEOUT_S = 10.0
_MOST_WARNINGS = 5
_SUFFIXES = (".yaml", ".yml", ".json")
#: The admin API is near: a proxy for the world would only be in the way.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(arguments: Namespace) -> int:
    """`get trainedmodels [NAME] [-o wide|json|yaml]`."""
    try:
        _warn(arguments.admin, arguments.name)
        if arguments.name:
            item = _fetch(arguments.admin, f"/v1/trainedmodels/{quote(arguments.name, safe='')}")
            items, whole = [item], _plain(item)
        else:
            items = _fetch(arguments.admin, "/v1/trainedmodels")["items"]
            whole = {"apiVersion": "v1", "kind": "List", "items": [_plain(i) for i in items]}
    except AdminError as error:
        return _complain(error)
    match arguments.output:
        case "json":
            sys.stdout.write(json.dumps(whole, indent=4) + "\n")
        case "yaml":
            sys.stdout.write(yaml.safe_dump(whole, sort_keys=False))
        case output:
            if not items:
                sys.stderr.write("No resources found.\n")
                return 0
            sys.stdout.write(models_table(items, wide=output == "wide", now=datetime.now(UTC)))
    return 0


def describe_model(arguments: Namespace) -> int:
    """`describe trainedmodel NAME`."""
    try:
        _warn(arguments.admin, arguments.name)
        item = _fetch(arguments.admin, f"/v1/trainedmodels/{quote(arguments.name, safe='')}")
    except AdminError as error:
        return _complain(error)
    sys.stdout.write(describe(item, datetime.now(UTC)))
    return 0


class AdminError(Exception):
    """The admin API did not give what was asked for; the text is for the user."""


def _fetch(admin: str, path: str) -> Any:
    try:
        with _OPENER.open(admin.rstrip("/") + path, timeout=_TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        try:
            message = json.load(error)["message"]
        except (ValueError, KeyError, TypeError):
            message = f"the admin API answered {error.code}"
        raise AdminError(f"Error from server: {message}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise AdminError(
            f"no answer from the admin API at {admin}: {reason}; is `wml-serving standalone` up?"
        ) from None


def _warn(admin: str, name: str | None) -> None:
    """An object that was refused is in no list: who looks for it should see why, and that of `name` first."""
    problems = sorted(_fetch(admin, "/v1/problems")["problems"], key=lambda problem: not _is_about(problem, name))
    for problem in problems[:_MOST_WARNINGS]:
        sys.stderr.write(f"warning: {problem}\n")
    if len(problems) > _MOST_WARNINGS:
        sys.stderr.write(f"warning: and {len(problems) - _MOST_WARNINGS} more; see {admin.rstrip('/')}/v1/problems\n")


def _is_about(problem: str, name: str | None) -> bool:
    """A file that cannot be read at all names no object; it is often called after it."""
    return bool(name) and (
        f"{KIND} {name!r}" in problem or problem.startswith(tuple(f"{name}{suffix}:" for suffix in _SUFFIXES))
    )


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """As in a list: the object as the API server would give it, and `live`, which nobody else can say."""
    return {k: v for k, v in item.items() if k != "events"}


def _complain(error: AdminError) -> int:
    sys.stderr.write(f"{error}\n")
    return 1

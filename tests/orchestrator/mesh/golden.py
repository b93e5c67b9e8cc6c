"""
Golden files: what is generated, as a person reads it in review.

WML_GOLDEN=rewrite writes them anew; the last test of a module that uses them
removes those that no case of it asked for.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import yaml

DIRECTORY: Final = Path(__file__).parent / "golden"
REWRITE: Final = os.environ.get("WML_GOLDEN") == "rewrite"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def check(name: str, generated: Any) -> None:
    """Compare with golden/<name>.yaml, or write it."""
    path = DIRECTORY / f"{name}.yaml"
    generated = json.loads(json.dumps(generated))
    if REWRITE:
        DIRECTORY.mkdir(exist_ok=True)
        path.write_text(yaml.dump(generated, Dumper=_Dumper, sort_keys=True, width=120))
    assert path.exists(), f"no {path.name}: run the tests with WML_GOLDEN=rewrite"
    assert yaml.safe_load(path.read_text()) == generated


def check_none_is_outdated(prefix: str, names: set[str]) -> None:
    """Every golden file with the prefix belongs to a case; those that do not are removed when rewriting."""
    outdated = {path.stem for path in DIRECTORY.glob(f"{prefix}*.yaml")} - names
    if REWRITE:
        for name in outdated:
            (DIRECTORY / f"{name}.yaml").unlink()
        return
    assert outdated == set()

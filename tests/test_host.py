"""What `scripts/check_host` says of a machine that lacks something, and who still finds Python's library then."""

from __future__ import annotations

import ctypes
import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "check_host"


@pytest.fixture
def check_host() -> ModuleType:
    spec = spec_from_loader("check_host", SourceFileLoader("check_host", str(SCRIPT)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which it is not to be had."""
    real = ctypes.CDLL

    def load(name: str, *arguments: Any) -> ctypes.CDLL:
        if name == library:
            raise OSError(f"{name}: cannot open shared object file")
        return real(name, *arguments)

    monkeypatch.setattr(ctypes, "CDLL", load)


def test_a_library_that_is_missing_is_named_with_its_package(
    check_host: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LightGBM's, which no wheel brings; what else is missing here is not looked at."""
    without("libgomp.so.1", monkeypatch)
    (said,) = (line for line in check_host.problems() if "libgomp.so.1" in line)
    assert "libgomp1 (Debian, Ubuntu)" in said


def test_the_path_of_pythons_library_is_told_whatever_else_is_missing(tmp_path: Path) -> None:
    """Triton is assembled with it, and an interpreter is chosen for it: LightGBM's library has nothing to do with that."""
    program = (
        "import ctypes, runpy, sys\n"
        "real = ctypes.CDLL\n"
        "def load(name, *rest):\n"
        "    if name == 'libgomp.so.1': raise OSError(name)\n"
        "    return real(name, *rest)\n"
        "ctypes.CDLL = load\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    python = str(ROOT / ".venv" / "bin" / "python")
    whole = subprocess.run([python, str(SCRIPT)], capture_output=True, text=True, check=False)
    lacking = subprocess.run([python, "-c", program, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert lacking.returncode == 1
    assert lacking.stdout == whole.stdout
    assert "libgomp1" in lacking.stderr

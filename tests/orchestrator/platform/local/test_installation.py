"""What must be installed, and what is said where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.platform.local.installation import (
    RUNTIMES_VARIABLE,
    Installation,
    LaunchProblem,
    default_runtimes,
    find_installation,
)
from orchestrator.platform.local.stack import StackError


def test_what_make_laid_out_is_found(found: Installation, tmp_path: Path) -> None:
    """The servers' programs, whatever Python their environments have."""
    runtimes = tmp_path / "runtimes"
    assert found.triton_python == "3.11"
    assert found.mlserver == runtimes / "mlserver/bin/mlserver"
    for program in (found.envoy, found.tritonserver):
        assert program.is_relative_to(runtimes)
        assert program.is_file()


def test_what_is_missing_is_named_with_what_to_run(tmp_path: Path) -> None:
    """All of it at once."""
    with pytest.raises(StackError, match=r"no envoy, mlserver, triton.*make"):
        find_installation(tmp_path)


def test_what_cannot_be_run_is_missing(found: Installation, tmp_path: Path) -> None:
    """A file is not enough; and only what is missing is named."""
    found.envoy.chmod(0o644)
    with pytest.raises(StackError, match=r"no envoy in .*runtimes; run `make`"):
        find_installation(tmp_path / "runtimes")


def test_the_runtimes_are_beside_the_environment_or_where_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never relative to the directory that one happens to be in."""
    monkeypatch.delenv(RUNTIMES_VARIABLE, raising=False)
    monkeypatch.setattr("sys.prefix", "/checkout/.venv")
    assert default_runtimes() == Path("/checkout/.runtimes")
    monkeypatch.setenv(RUNTIMES_VARIABLE, "elsewhere")
    assert default_runtimes() == Path.cwd() / "elsewhere"


def test_a_missing_library_is_a_message_not_a_strange_server(found: Installation) -> None:
    """Naming the package; installed meanwhile, it is found."""
    assert found.triton_libraries() == (found.triton / "nvidia_pytriton.libs", found.triton_host)
    strange = replace(found, triton_python="3.99")
    with pytest.raises(LaunchProblem, match=r"needs libpython3\.99\.so.*install libpython3\.99 .Debian"):
        strange.triton_libraries()
    (found.triton_host / "libpython3.99.so.1.0").touch()
    assert strange.triton_libraries() == found.triton_libraries()

"""
Where the model servers and Envoy are: an environment each under `.runtimes`, as `make` sets them up.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.platform.local.stack import StackError

RUNTIMES_VARIABLE: Final = "WML_SERVING_RUNTIMES"
#: Where a dynamic linker looks without being told.
_SYSTEM_LIBRARIES: Final = ("/usr/lib64", "/usr/lib", "/lib64", "/lib", "/usr/local/lib", "/usr/local/lib64")


class LaunchProblem(Exception):
    """A process cannot be started as things are. The text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What was found."""

    envoy: Path
    mlserver: Path
    #: site-packages of Triton's environment.
    triton: Path
    triton_backends: Path
    #: Directory of a link to the shared library of Python that Triton's stub needs.
    triton_host: Path
    #: "3.11"
    triton_python: str

    @property
    def tritonserver(self) -> Path:
        """The server's binary."""
        return self.triton / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    def triton_libraries(self) -> tuple[Path, ...]:
        """
        For LD_LIBRARY_PATH.

        Looked at for each start, since a package may be installed meanwhile.
        Raises LaunchProblem without the library of Triton's Python stub:
        the server would start, and fail each model with words about a stub.
        """
        own = self.triton / "nvidia_pytriton.libs"
        library = f"libpython{self.triton_python}.so.1.0"
        if (self.triton_host / library).exists():
            return own, self.triton_host
        multiarch = sorted(str(path) for path in Path("/usr/lib").glob("*-linux-gnu"))
        if any(Path(directory, library).exists() for directory in (*multiarch, *_SYSTEM_LIBRARIES)):
            return (own,)
        raise LaunchProblem(
            f"Triton's Python stub needs {library}, which is not on this machine; install "
            f"libpython{self.triton_python} (Debian, Ubuntu) or python{self.triton_python}-libs (Fedora)"
        )


def default_runtimes() -> Path:
    """Beside the environment that this process runs in, or where WML_SERVING_RUNTIMES says."""
    named = os.environ.get(RUNTIMES_VARIABLE)
    return Path(named).absolute() if named else Path(sys.prefix).absolute().parent / ".runtimes"


def find_installation(runtimes: Path | None = None) -> Installation:
    """What is in `runtimes` (the default place if None). Raises StackError naming all that is missing, and what to run."""
    runtimes = default_runtimes() if runtimes is None else runtimes
    triton, triton_python = _site_packages(runtimes / "triton")
    envoy, _ = _site_packages(runtimes / "envoy")
    found = Installation(
        envoy=envoy / "envoy" / "_bin" / "envoy",
        mlserver=runtimes / "mlserver" / "bin" / "mlserver",
        triton=triton,
        triton_backends=runtimes / "triton" / "backends",
        triton_host=runtimes / "triton" / "host",
        triton_python=triton_python,
    )
    needed = {
        "envoy": found.envoy,
        "mlserver": found.mlserver,
        "triton": found.tritonserver,
        "triton's backends": found.triton_backends / "python" / "triton_python_backend_stub",
    }
    missing = [name for name, path in needed.items() if not os.access(path, os.X_OK)]
    if missing:
        raise StackError(
            f"no {', '.join(missing)} in {runtimes}; run `make` in the checkout, "
            f"or name another place in {RUNTIMES_VARIABLE}"
        )
    return found


def _site_packages(environment: Path) -> tuple[Path, str]:
    for path in sorted(environment.glob("lib/python3.*/site-packages")):
        return path, path.parent.name.removeprefix("python")
    return environment / "lib", ""

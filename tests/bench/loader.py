"""
The load generator, as a subprocess: what it is told and what it says.

A request that fails, or is answered by another model, makes the measurement
worthless: that is an error and no figure.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from tritonclient.grpc import service_pb2

_ROOT: Final = Path(__file__).resolve().parents[2]
BINARIES: Final = _ROOT / ".runtimes" / "bench" / "bin"
#: Besides what it is told to take.
_PATIENCE_S: Final = 120.0


class BenchError(Exception):
    """What was measured is no measurement; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the load generator saw. Times are milliseconds."""

    requests: int
    rate: float
    p50: float
    p90: float
    p99: float
    longest: float
    #: Of models that were asked once: model → time.
    each: Mapping[str, float]
    #: CPU seconds by pid.
    cpu: Mapping[int, float]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BenchError if a request failed, or if none was answered."""
        said: dict[str, Any] = json.loads(text)
        if said["errors"] or not said["requests"]:
            failures = [f"{count} {kind} ({said['examples'][kind]})" for kind, count in said["errors"].items()]
            raise BenchError(f"{said['requests']} requests were answered; failed: {', '.join(failures) or 'none'}")
        return cls(
            requests=said["requests"],
            rate=said["rate"],
            p50=said["p50_ms"],
            p90=said["p90_ms"],
            p99=said["p99_ms"],
            longest=said["max_ms"],
            each={each["model"]: each["ms"] for each in said.get("each", [])},
            cpu={int(pid): seconds for pid, seconds in said["cpu_s"].items()},
        )


def question(directory: Path) -> Path:
    """A file with a request about one digit, but for the model's name: 64 numbers, as the samples' models take them."""
    image = np.arange(64, dtype=np.float32) % 17
    request = service_pb2.ModelInferRequest(raw_input_contents=[image.tobytes()])
    request.inputs.add(name="digits", datatype="FP32", shape=[1, 64])
    path = directory / "question"
    path.write_bytes(request.SerializeToString())
    return path


def repeated(
    target: str,
    models: Sequence[str],
    message: Path,
    *,
    callers: int,
    metadata: bool,
    warm_up_s: float,
    seconds: float,
    watch: Sequence[int] = (),
    connections: int = 0,
) -> Measured:
    """Ask these models in turn for `seconds`; each caller has a connection, or they share some. Raises BenchError."""
    timing = ("-warm-up", f"{warm_up_s:g}s", "-duration", f"{seconds:g}s", "-connections", str(connections))
    arguments = [*_common(target, message, callers, metadata, watch), *timing]
    return _run(arguments, models, warm_up_s + seconds)


def once(
    target: str, models: Sequence[str], message: Path, *, callers: int, metadata: bool = True, within_s: float = 120.0
) -> Measured:
    """Ask each of these models one time, `callers` at once. Raises BenchError."""
    return _run([*_common(target, message, callers, metadata, ()), "-once"], models, within_s)


def _common(target: str, message: Path, callers: int, metadata: bool, watch: Sequence[int]) -> list[str]:
    given = ["-target", target, "-message", str(message), "-callers", str(callers)]
    return [*given, f"-metadata={str(metadata).lower()}", "-watch", ",".join(str(pid) for pid in watch)]


def _run(arguments: list[str], models: Sequence[str], seconds: float) -> Measured:
    done = subprocess.run(
        [str(BINARIES / "load"), *arguments],
        input="\n".join(models),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + _PATIENCE_S,
    )
    if done.returncode:
        raise BenchError(f"the load generator failed: {done.stderr.strip()}")
    return Measured.parse(done.stdout)

"""
What the product costs and how fast it is, measured on this machine: `make bench`.

Side by side, in one run, bounded in time. Needs what `make bench` builds. All
parts at full length go to `docs/`, so that what stands there is one run;
anything less goes to `.cache/bench/`. A machine that cannot run a Kubernetes
node says so, and measures the rest.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.bench import cold, on_cluster, ready, scale, warm
from tests.bench.loader import BINARIES, BenchError
from tests.bench.results import Machine, Results
from tests.bench.tables import BEGIN, END, inserted, render, summary
from tests.bench.world import FULL, QUICK, World, say

_ROOT: Final = Path(__file__).resolve().parents[2]
_DOCS: Final = _ROOT / "docs"
_SCRATCH: Final = _ROOT / ".cache" / "bench"
_NODE_PARTS: Final = ("make", "--no-print-directory", "cluster-parts")
#: In the order of measuring; the names are fields of Results.
_PARTS: Final[dict[str, Callable[[World], Any]]] = {
    "warm": lambda world: tuple(warm.measure(world)),
    "first": cold.measure,
    "ready": lambda world: tuple(ready.measure(world)),
    "scale": scale.measure,
    "cluster": on_cluster.measure,
}


def main(argv: Sequence[str]) -> int:
    """Measure, and write down; the exit code."""
    parsing = parser()
    arguments = parsing.parse_args(argv)
    if unknown := set(arguments.parts) - _PARTS.keys():
        parsing.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    signal.signal(signal.SIGTERM, _end)
    chosen = arguments.parts or _possible()
    whole = not arguments.quick and set(chosen) == _PARTS.keys()
    output: Path = arguments.output or (_DOCS if whole or arguments.render else _SCRATCH)
    output.mkdir(parents=True, exist_ok=True)
    data = output / "benchmarks.json"
    if not arguments.render:
        # A node's binaries take minutes to build, the first time: only if it is measured.
        if "cluster" in chosen and (failed := subprocess.run(_NODE_PARTS, cwd=_ROOT, check=False).returncode):
            return failed
        try:
            results = _measure(chosen, quick=arguments.quick, command=command(arguments))
        except (BenchError, AssertionError) as error:
            say(f"failed: {error}")
            return 1
        data.write_text(results.dump(), encoding="utf-8")
    # Read back: what is drawn and told is what is written down, to the digit.
    _render(data, output)
    say(f"written: {output / 'benchmarks.md'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """What it can be told."""
    made = argparse.ArgumentParser(prog="make bench ARGS=", description="Measures the product on this machine.")
    made.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(_PARTS)}; all if none is named")
    made.add_argument("--quick", action="store_true", help="measure next to nothing: shows that the harness works")
    made.add_argument("--render", action="store_true", help="measure nothing: tables and plots of the last results")
    made.add_argument("--output", type=Path, help="directory of benchmarks.md, benchmarks.json and plots")
    return made


def command(arguments: argparse.Namespace) -> str:
    """How anybody would ask for the same."""
    words = " ".join([*(["--quick"] if arguments.quick else []), *arguments.parts])
    return f"make bench ARGS={shlex.quote(words)}" if words else "make bench"


def _possible() -> list[str]:
    check = subprocess.run((sys.executable, _ROOT / "scripts" / "check_cluster"), check=False)
    return [name for name in _PARTS if name != "cluster" or check.returncode == 0]


def _measure(chosen: Sequence[str], *, quick: bool, command: str) -> Results:
    machine, begun, clock = Machine.this(), datetime.now(UTC), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wml-bench-") as directory:
        world = World(Path(directory), QUICK if quick else FULL)
        with world.opened():
            measured = {name: _PARTS[name](world) for name in _PARTS if name in chosen}
    return Results(
        machine=machine,
        begun=begun.strftime("%Y-%m-%d %H:%M UTC"),
        minutes=(time.monotonic() - clock) / 60,
        command=command,
        **measured,
    )


def _render(data: Path, output: Path) -> None:
    results = Results.load(data.read_text(encoding="utf-8"))
    document = output / "benchmarks.md"
    text = document.read_text(encoding="utf-8") if document.exists() else f"{BEGIN}\n{END}\n"
    document.write_text(inserted(text, render(results)), encoding="utf-8")
    if output == _DOCS and results.cluster:
        readme = _ROOT / "README.md"
        readme.write_text(inserted(readme.read_text(encoding="utf-8"), summary(results.cluster)), encoding="utf-8")
    plots = [str(BINARIES / "python"), str(Path(__file__).with_name("plots.py")), str(data), str(output)]
    subprocess.run(plots, check=True)


def _end(_number: int, _frame: object) -> NoReturn:
    """Leave by the way that takes everything down."""
    sys.exit(143)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

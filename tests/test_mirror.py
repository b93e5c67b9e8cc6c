"""
Tests mirror the packages: whoever looks for the tests of a module finds them by its name, and the other way round.

And no file, of either, is longer than what one reads at a sitting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("orchestrator", "adapters")

#: Modules without a test of their own name, and the file in which what they do is tested.
ELSEWHERE: Final = {
    # Values and Protocols: there is nothing in them that could be wrong by itself.
    "orchestrator/domain/routes.py": "tests/orchestrator/mesh/test_router.py",
    # Parts of a plan, whose tests are of the whole.
    "orchestrator/domain/loading.py": "tests/orchestrator/domain/test_plan.py",
    "orchestrator/domain/update.py": "tests/orchestrator/domain/test_plan_last_good.py",
    "orchestrator/domain/withdrawal.py": "tests/orchestrator/domain/test_plan.py",
    "orchestrator/admin/term_view.py": "tests/orchestrator/admin/test_server.py",
    "orchestrator/ports.py": "tests/orchestrator/controller/test_controller.py",
    "orchestrator/activator/waiter.py": "tests/orchestrator/activator/test_gate.py",
    "adapters/domain/ports.py": "tests/adapters/loader/test_loader.py",
    "adapters/domain/progress.py": "tests/adapters/test_ledger.py",
    "adapters/storage/limits.py": "tests/adapters/storage/test_download.py",
    "orchestrator/platform/kube/pod_settings.py": "tests/orchestrator/platform/kube/test_pod_template.py",
    "adapters/loader/settings.py": "tests/adapters/loader/test_loader.py",
    # Shells that put parts together: they are tested by what the whole does.
    "orchestrator/manager.py": "tests/standalone/test_line.py",
    "orchestrator/cli/activator.py": "tests/standalone/test_clients.py",
    "orchestrator/cli/controller.py": "tests/standalone/test_fencing.py",
    "orchestrator/platform/kube/kubeconfig.py": "tests/orchestrator/platform/kube/test_connect.py",
    "orchestrator/cli/standalone.py": "tests/standalone/test_supervisor.py",
    # Run inside a server.
    "orchestrator/platform/local/backends/mlserver/wml_repository.py": "tests/standalone/test_repository.py",
    "orchestrator/platform/local/backends/onnxruntime/model.py": "tests/standalone/test_line.py",
}

#: Tests that mirror no module: of the project as a whole, or of several modules together.
OF_THE_WHOLE: Final = frozenset({f"tests/test_{name}.py" for name in ("docs", "host", "make", "mirror", "monitoring")})
#: Folders whose tests are of processes, or of what is beside them there, not of the packages' modules.
MOST_LINES: Final = 400
TIERS: Final = ("tests/bench/", "tests/cluster/", "tests/standalone/", "tests/samples/")


def modules() -> set[str]:
    """Every module of ours, but for packages' empty fronts."""
    found = (p.relative_to(ROOT) for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
    return {p.as_posix() for p in found if p.name != "__init__.py"}


def mirroring() -> set[str]:
    """Every file of tests that mirrors something."""
    found = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("test_*.py")}
    return {t for t in found - OF_THE_WHOLE if not t.startswith(TIERS)}


def mirror_of(module: str) -> str:
    """orchestrator/mesh/session.py → tests/orchestrator/mesh/test_session.py"""
    path = Path("tests", module)
    return path.with_name(f"test_{path.stem.strip('_')}.py").as_posix()


def mirrors(test: str, known: set[str]) -> bool:
    """Of a module, or of one side of it: test_plan.py and test_plan_laws.py are both of plan.py."""
    names = {mirror_of(m).removesuffix(".py") for m in known}
    stem = test.removesuffix(".py")
    return any(stem == name or stem.startswith(f"{name}_") for name in names)


def test_every_module_has_its_test() -> None:
    """Beside it in the mirror, or where the table says."""
    missing = {m for m in modules() - ELSEWHERE.keys() if not (ROOT / mirror_of(m)).is_file()}
    assert not missing, f"no tests of these, and no word in ELSEWHERE where they are tested: {sorted(missing)}"


def test_every_test_has_its_module() -> None:
    """A test that outlived its module tests nothing that a reader would look for."""
    known = modules()
    strays = {t for t in mirroring() if not mirrors(t, known)}
    assert not strays, f"these mirror no module: {sorted(strays)}"


def test_no_exception_is_stale() -> None:
    """The module is there, so is the test that covers it, and it has none of its own name by now."""
    known = modules()
    for module, test in ELSEWHERE.items():
        assert module in known, f"{module} is gone: take it out of ELSEWHERE"
        assert (ROOT / test).is_file(), f"{module} is not tested in {test} any more"
        assert not (ROOT / mirror_of(module)).is_file(), f"{module} has tests of its own now: take it out of ELSEWHERE"
    for test in OF_THE_WHOLE:
        assert (ROOT / test).is_file(), f"{test} is gone: take it out of OF_THE_WHOLE"


def test_no_file_is_long() -> None:
    """What outgrows it holds two nouns. Generated code is nobody's to read."""
    files = [p for folder in (*PACKAGES, "samples", "scripts", "tests") for p in (ROOT / folder).rglob("*.py")]
    lengths = {p.relative_to(ROOT).as_posix(): len(p.read_text(encoding="utf-8").splitlines()) for p in files}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize(
    ("module", "test"),
    [
        ("orchestrator/mesh/session.py", "tests/orchestrator/mesh/test_session.py"),
        ("adapters/__main__.py", "tests/adapters/test_main.py"),
        ("orchestrator/settings.py", "tests/orchestrator/test_settings.py"),
    ],
)
def test_the_mirror_keeps_folders_and_names(module: str, test: str) -> None:
    """An example of each kind."""
    assert mirror_of(module) == test
    assert mirrors(test, {module})
    assert mirrors(test.replace(".py", "_laws.py"), {module})
    assert not mirrors(test.replace(".py", "s.py"), {module})

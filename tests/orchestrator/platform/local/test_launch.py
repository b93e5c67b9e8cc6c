"""Command lines, environments, and what must be installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.platform.builtin import builtin_runtimes
from orchestrator.platform.local.installation import Installation
from orchestrator.platform.local.launch import (
    PodPlace,
    PodTemplate,
    adapter_spec,
    envoy_spec,
    product_environment,
    product_spec,
    server_spec,
)
from tests.orchestrator.platform.local.support import NAMESPACE

SHELL = {"PATH": "/bin", "HOME": "/home/u", "AWS_SECRET_ACCESS_KEY": "hunter2", "PYTHONPATH": "/x", "LD_PRELOAD": "y"}


@pytest.fixture
def place(tmp_path: Path) -> PodPlace:
    return PodPlace(
        name="r-1",
        directory=tmp_path / "pod",
        adapter_socket=tmp_path / "a.sock",
        repository=tmp_path / "models-link",
        backends=tmp_path / "backends-link",
        log=tmp_path / "r-1.log",
        grpc_port=1001,
        http_port=1002,
        shm_prefix="wml_x_",
    )


def template(server_type: str, **env: str) -> PodTemplate:
    return PodTemplate(runtime="r", server_type=server_type, capacity_bytes=7, env=tuple(env.items()))


def test_triton(place: PodPlace, found: Installation) -> None:
    """One port, explicit control, its own shared memory, the libraries that it needs."""
    spec = server_spec(template("triton", LD_LIBRARY_PATH="theirs", OMP_NUM_THREADS="1"), place, found, SHELL)
    assert {
        "--model-control-mode=explicit",
        "--grpc-port=1001",
        "--grpc-address=127.0.0.1",
        "--allow-http=false",
        "--allow-metrics=false",
        "--backend-config=python,shm-region-prefix-name=wml_x_",
    } <= set(spec.argv)
    assert found.triton == spec.cwd
    assert f"{found.triton}/nvidia_pytriton.libs:{found.triton_host}" == spec.env["LD_LIBRARY_PATH"]
    assert {"PATH", "HOME", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"} <= spec.env.keys()
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "LD_PRELOAD"} & spec.env.keys()


def test_mlserver(place: PodPlace, found: Installation) -> None:
    """Where it is and what it listens on are ours to say, the rest is the ServingRuntime's."""
    env = {"MLSERVER_GRPC_PORT": "8001", "MLSERVER_PARALLEL_WORKERS": "2", "MLSERVER_HOST": "0.0.0.0"}
    spec = server_spec(template("mlserver", **env), place, found, SHELL)
    assert (str(found.mlserver), "start", str(place.models)) == spec.argv
    assert tuple(
        spec.env[f"MLSERVER_{name}"]
        for name in ("GRPC_PORT", "HTTP_PORT", "HOST", "PARALLEL_WORKERS", "METRICS_ENDPOINT")
    ) == ("1001", "1002", "127.0.0.1", "2", "")
    assert not {"AWS_SECRET_ACCESS_KEY", "LD_PRELOAD"} & spec.env.keys()
    defaults = server_spec(template("mlserver"), place, found, SHELL)
    assert defaults.env["MLSERVER_PARALLEL_WORKERS"] == "0"


def test_mlserver_finds_what_of_ours_runs_in_it(place: PodPlace, found: Installation) -> None:
    """Before what a ServingRuntime adds to the path; nothing of the shell's path."""
    spec = server_spec(template("mlserver", PYTHONPATH="/theirs"), place, found, SHELL)
    ours, *others = spec.env["PYTHONPATH"].split(":")
    module, _, _ = spec.env["MLSERVER_MODEL_REPOSITORY_IMPLEMENTATION"].partition(".")
    assert (Path(ours) / f"{module}.py").is_file()
    assert others == ["/theirs"]
    assert server_spec(template("mlserver"), place, found, SHELL).env["PYTHONPATH"] == ours


def test_our_own(place: PodPlace, found: Installation, tmp_path: Path) -> None:
    """No secret on a command line; the code that runs is found from any directory."""
    env = product_environment(SHELL)
    assert [str(Path(__file__).resolve().parents[4]), "/x"] == env["PYTHONPATH"].split(":")
    specs = [
        adapter_spec(template("triton"), place, python="py", recheck_s=1.0, environment=env),
        product_spec("controller", tmp_path / "c.json", python="py", environment=env),
        envoy_spec(
            found,
            bootstrap=tmp_path / "b.json",
            admin=tmp_path / "a.sock",
            log=tmp_path / "envoy.log",
            environment=SHELL,
        ),
    ]
    adapter, controller, envoy = specs
    assert ("py", "-P", "-m", "orchestrator", "controller", "--settings", str(tmp_path / "c.json")) == controller.argv
    assert "--use-dynamic-base-id" in envoy.argv
    assert {"PATH", "HOME"} == envoy.env.keys()
    flags = dict(zip(adapter.argv[4::2], adapter.argv[5::2], strict=True))
    assert (f"unix:{place.adapter_socket}", "127.0.0.1:1001", "7") == (
        flags["--listen"],
        flags["--server"],
        flags["--capacity-bytes"],
    )
    assert (flags["--pod"], flags["--server-log"]) == (place.name, str(place.log))
    assert "hunter2" not in repr(specs)


def test_templates_survive_the_wire() -> None:
    """And are made from runtimes."""
    runtime = builtin_runtimes(NAMESPACE)["mlserver-0.x"]
    made = PodTemplate.of(runtime)
    assert made == PodTemplate.parse(made.render())
    assert runtime.capacity_bytes == made.capacity_bytes

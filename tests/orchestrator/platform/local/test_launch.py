"""Command lines, environments, and what must be installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.platform.local.builtin import builtin_manifests, builtin_runtimes
from orchestrator.platform.local.installation import Installation, LaunchProblem, find_installation
from orchestrator.platform.local.launch import (
    PodPlace,
    PodTemplate,
    adapter_spec,
    envoy_spec,
    product_environment,
    product_spec,
    server_spec,
)
from orchestrator.platform.local.log_files import KEPT, MAX_BYTES, trim
from orchestrator.platform.local.manifests import parse_file
from orchestrator.platform.local.stack import StackError
from tests.orchestrator.platform.local.support import NAMESPACE

SHELL = {"PATH": "/bin", "HOME": "/home/u", "AWS_SECRET_ACCESS_KEY": "hunter2", "PYTHONPATH": "/x", "LD_PRELOAD": "y"}


@pytest.fixture
def place(tmp_path: Path) -> PodPlace:
    return PodPlace(
        name="r-1",
        directory=tmp_path / "pod",
        adapter_socket=tmp_path / "a.sock",
        log=tmp_path / "r-1.log",
        grpc_port=1001,
        http_port=1002,
        shm_prefix="wml_x_",
    )


@pytest.fixture
def found(tmp_path: Path) -> Installation:
    """As `make` lays it out."""
    for name, path in {
        "envoy": "lib/python3.11/site-packages/envoy/_bin/envoy",
        "mlserver": "bin/mlserver",
        "triton": "lib/python3.11/site-packages/pytriton/tritonserver/bin/tritonserver",
    }.items():
        (tmp_path / name / path).parent.mkdir(parents=True)
        (tmp_path / name / path).touch(0o755)
    stub = tmp_path / "triton/backends/python/triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    stub.touch(0o755)
    (tmp_path / "triton/host").mkdir()
    (tmp_path / "triton/host/libpython3.11.so.1.0").touch()
    return find_installation(tmp_path)


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
    assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "LD_PRELOAD"} & spec.env.keys()
    defaults = server_spec(template("mlserver"), place, found, SHELL)
    assert defaults.env["MLSERVER_PARALLEL_WORKERS"] == "0"


def test_our_own(place: PodPlace, found: Installation, tmp_path: Path) -> None:
    """No secret on a command line; the code that runs is found from any directory."""
    env = product_environment(SHELL)
    assert [str(Path(__file__).resolve().parents[4]), "/x"] == env["PYTHONPATH"].split(":")
    specs = [
        adapter_spec(template("triton"), place, python="py", recheck_s=1.0, environment=env),
        product_spec("controller", tmp_path / "c.json", python="py", environment=env),
        envoy_spec(found, bootstrap=tmp_path / "b.json", log=tmp_path / "envoy.log", environment=SHELL),
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
    assert "hunter2" not in repr(specs)


def test_templates_survive_the_wire() -> None:
    """And are made from runtimes."""
    runtime = builtin_runtimes(NAMESPACE)["mlserver-0.x"]
    made = PodTemplate.of(runtime)
    assert made == PodTemplate.parse(made.render())
    assert runtime.capacity_bytes == made.capacity_bytes


def test_what_is_missing_is_named_with_what_to_run(tmp_path: Path) -> None:
    """All of it at once."""
    with pytest.raises(StackError, match=r"no envoy, mlserver, triton.*make"):
        find_installation(tmp_path)


def test_a_missing_library_is_a_message_not_a_strange_server(place: PodPlace, found: Installation) -> None:
    """Naming the package; installed meanwhile, it is found."""
    library = found.triton_host / "libpython3.11.so.1.0"
    library.unlink()
    strange = Installation(
        envoy=found.envoy,
        mlserver=found.mlserver,
        triton=found.triton,
        triton_backends=found.triton_backends,
        triton_host=found.triton_host,
        triton_python="3.99",
    )
    with pytest.raises(LaunchProblem, match=r"needs libpython3\.99\.so.*install libpython3\.99 .Debian"):
        server_spec(template("triton"), place, strange, SHELL)
    server_spec(template("mlserver"), place, strange, SHELL)
    (found.triton_host / "libpython3.99.so.1.0").touch()
    server_spec(template("triton"), place, strange, SHELL)


def test_the_built_in_runtimes() -> None:
    """The contract's table of frameworks; no file of ours is wrong."""
    runtimes = builtin_runtimes(NAMESPACE)
    assert {
        "triton-2.x": {"tensorflow", "onnx", "tensorrt", "pytorch"},
        "mlserver-0.x": {"sklearn", "xgboost", "lightgbm"},
    } == {name: set(runtime.auto_select) for name, runtime in runtimes.items()}
    assert [runtimes[name].server_type for name in ("triton-2.x", "mlserver-0.x")] == ["triton", "mlserver"]
    for path in builtin_manifests().glob("*.yaml"):
        parsed = parse_file(path.name, path.read_bytes(), NAMESPACE)
        assert not [problem for problem in parsed.problems if not problem.ignored]


def test_logs_stay_small_and_few(tmp_path: Path) -> None:
    """Open logs go on after the cut; those of pods that live are kept, however many ended."""
    with (tmp_path / "live.log").open("ab", buffering=0) as log:
        log.truncate(MAX_BYTES + 1)
        for number in range(KEPT + 3):
            (tmp_path / f"{number}.log").touch()
        (tmp_path / "other").touch()
        trim(tmp_path, {"live.log"})
        log.write(b"more")
    assert (tmp_path / "live.log").read_bytes() == b"more"
    assert len(list(tmp_path.iterdir())) == KEPT + 2

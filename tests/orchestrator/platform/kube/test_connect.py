"""The way to the API server: of a pod, and of a developer."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.platform.kube.connect import REFRESH_S, NoCluster, TokenFile, connect
from orchestrator.platform.kube.paths import core
from tests.orchestrator.platform.kube.fake_api import FakeApi, fake_api

PATH = core("configmaps", "ns", "a")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with fake_api() as fake:
        fake.store.put(PATH, {})
        yield fake


def kubeconfig(path: Path, server: str, user: dict[str, Any]) -> dict[str, str]:
    """The environment with a KUBECONFIG of one user."""
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return {"KUBECONFIG": str(path)}


async def test_a_token_is_read_again_after_a_while(tmp_path: Path) -> None:
    """It is replaced before it expires; an empty file is no token."""
    clock, file = Clock(), tmp_path / "token"
    file.write_text("one\n")
    token = TokenFile(file, clock)
    assert await token.authorize() == "Bearer one"
    file.write_text("two")
    assert await token.authorize() == "Bearer one"
    clock.now = REFRESH_S
    assert await token.authorize() == "Bearer two"
    file.write_text("\n")
    clock.now *= 2
    with pytest.raises(OSError, match="is empty"):
        await token.authorize()


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
async def test_a_pod_knows_its_server(tmp_path: Path, host: str, server: str) -> None:
    """By its environment, its token, and its cluster's certificate authority."""
    (tmp_path / "token").write_text("t")
    authority = ssl.get_default_verify_paths().cafile
    assert authority is not None
    (tmp_path / "ca.crt").write_bytes(Path(authority).read_bytes())
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    async with await connect(environ, Clock(), account=tmp_path) as api:
        assert api.server == server


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
async def test_a_pod_without_an_account_says_so(tmp_path: Path, missing: str) -> None:
    """automountServiceAccountToken: false, for instance."""
    for name in {"token", "ca.crt"} - {missing}:
        (tmp_path / name).write_text("x")
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(NoCluster, match="service account"):
        await connect(environ, Clock(), account=tmp_path)


async def test_nowhere_is_nowhere(tmp_path: Path) -> None:
    """Neither a pod nor a file."""
    with pytest.raises(NoCluster, match="not in a pod"):
        await connect({}, Clock(), account=tmp_path)


async def test_a_file_says_where_and_who(tmp_path: Path, fake: FakeApi) -> None:
    """It comes before the pod's own account."""
    environ = kubeconfig(tmp_path / "config", fake.url, {"token": "abc"})
    async with await connect({**environ, "KUBERNETES_SERVICE_HOST": "x"}, Clock()) as api:
        await api.get(PATH)
    assert fake.calls[0].headers["Authorization"] == "Bearer abc"


async def test_a_program_that_makes_tokens_is_run_again(tmp_path: Path, fake: FakeApi) -> None:
    """Its tokens end after a quarter of an hour in some clouds."""
    clock, counter = Clock(), tmp_path / "counter"
    code = (
        f"import json, pathlib; p = pathlib.Path({str(counter)!r}); p.touch(); n = len(p.read_text()); "
        "p.write_text('x' * (n + 1)); print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', "
        "'kind': 'ExecCredential', 'status': {'token': f't{n}', 'expirationTimestamp': '2020-01-01T00:00:00Z'}}))"
    )
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", code]}
    environ = kubeconfig(tmp_path / "config", fake.url, {"exec": command})
    async with await connect(environ, clock) as api:
        await api.get(PATH)
        await api.get(PATH)
        clock.now = REFRESH_S
        await api.get(PATH)
    assert [call.headers["Authorization"] for call in fake.calls] == ["Bearer t0", "Bearer t0", "Bearer t1"]


@pytest.mark.parametrize("text", [None, "", "{", "[]", "current-context: x"])
async def test_a_file_that_says_nothing_is_said(tmp_path: Path, text: str | None) -> None:
    """Whatever is wrong with it, and with its path in the text."""
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    with pytest.raises(NoCluster, match=str(file)):
        await connect({"KUBECONFIG": str(file)}, Clock())


def test_a_pod_does_not_load_what_it_does_not_need() -> None:
    """The client's model classes cost every process 40 MiB, and their import fails without a home directory."""
    code = "import sys, orchestrator.platform.kube.connect; print('kubernetes_asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

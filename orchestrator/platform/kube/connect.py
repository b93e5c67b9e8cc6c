"""
How to reach the API server, and as whom: a pod's service account, or a KUBECONFIG.

A pod's own way is four facts in known places, so it is read here. A KUBECONFIG
may say a dozen things, up to a program that makes tokens: that is what
kubernetes_asyncio is used for, and it is imported only then, since it costs
each process 40 MiB and its import fails without a home directory, which a pod
with a random user need not have.

Tokens change under way: that of a service account is replaced before its hour
is over. It is read again once a minute. Not promised: a change of the cluster's
certificate authority, which is read once.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import aiohttp

from orchestrator.domain.addresses import host_port
from orchestrator.platform.kube.api import KubeApi

#: How long a token is used before it is looked at again.
REFRESH_S: Final = 60.0
ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoCluster(Exception):
    """Nothing says where the API server is, or what says it cannot be read."""


async def connect(
    environ: Mapping[str, str],
    clock: Callable[[], float],
    *,
    account: Path = ACCOUNT,
    trace: aiohttp.TraceConfig | None = None,
) -> KubeApi:
    """
    An API server: that of KUBECONFIG if there is one, else that of this pod. Raises NoCluster.

    `clock` is monotonic; `trace` sees each request. Nothing is asked of the server yet.
    """
    file = environ.get("KUBECONFIG", "")
    if file:
        # See above: where it is not needed, it is not to be paid for.
        from orchestrator.platform.kube.kubeconfig import connect_by_file

        return await connect_by_file(file, clock, trace)
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not (host and port):
        raise NoCluster("not in a pod of Kubernetes, and no KUBECONFIG: nothing says where the API server is")
    token = TokenFile(account / "token", clock)
    try:
        token.read()
        tls = ssl.create_default_context(cafile=str(account / "ca.crt"))
    except OSError as error:
        raise NoCluster(f"the pod's service account cannot be read: {error}") from error
    server = f"https://{host_port(host, port)}"
    return KubeApi(server, tls=tls, authorize=token.authorize, trace=trace)


class TokenFile:
    """A bearer token in a file that somebody replaces."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._header = ""
        self._until = float("-inf")

    async def authorize(self) -> str:
        """The header's value. Raises OSError."""
        if self._clock() >= self._until:
            self.read()
        return self._header

    def read(self) -> None:
        """Now. Raises OSError."""
        token = self._path.read_text().strip()
        if not token:
            raise OSError(f"{self._path} is empty")
        self._header = f"Bearer {token}"
        self._until = self._clock() + REFRESH_S

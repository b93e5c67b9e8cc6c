"""
An API server as a KUBECONFIG describes it: for developers, and for the tests' cluster.

kubernetes_asyncio reads it: contexts, inlined certificates, token files, OIDC,
programs that make tokens. Its own refresh is a loop that somebody has to run,
and forgets all but programs; here the whole of it is read again by whoever
sends a request a minute after the last time.

Not promised: that a client certificate is renewed; it is read once.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import aiohttp
from kubernetes_asyncio import config
from kubernetes_asyncio.client import Configuration

from orchestrator.platform.kube.answers import ApiUnreachable
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.connect import REFRESH_S, NoCluster


async def connect_by_file(file: str, clock: Callable[[], float], trace: aiohttp.TraceConfig | None = None) -> KubeApi:
    """As its current context says. Raises NoCluster."""
    configuration = Configuration()
    try:
        loader = await config.load_kube_config(file, client_configuration=configuration, persist_config=False)
        tls = _tls(configuration)
    # What is wrong with a file shows as any error of Python in there.
    except Exception as error:
        raise NoCluster(f"{file} cannot be used: {type(error).__name__}: {error}") from error
    until = clock() + REFRESH_S

    async def authorize() -> str | None:
        nonlocal until
        if clock() >= until:
            try:
                await loader.load_and_set(configuration)
            except Exception as error:
                raise ApiUnreachable(f"no credentials by {file}: {type(error).__name__}") from error
            until = clock() + REFRESH_S
        token = configuration.api_key.get("BearerToken")
        return None if token is None else str(token)

    return KubeApi(
        str(configuration.host),
        tls=tls,
        authorize=authorize,
        server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
        trace=trace,
    )


def _tls(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

"""A real Envoy and its control plane over mutual TLS, with certificates from files that a kubelet swaps."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from cryptography import x509
from structlog.testing import capture_logs

from orchestrator.domain.routes import Route
from orchestrator.transport.identity import ADAPTER, MESH, ORCHESTRATOR
from tests.identities import Authority, Held, mount
from tests.orchestrator.waiting import eventually
from tests.standalone.envoy_stack import (
    NODE,
    ControlPlane,
    admin_get,
    eventually_ready,
    free_address,
    waiting,
)

OLD = Authority()
NEW = Authority()


async def says(admin: str, target: str, words: str) -> None:
    """Wait until Envoy's admin API says that."""
    deadline = time.monotonic() + 20
    while not re.search(words.encode(), await admin_get(admin, target)):
        assert time.monotonic() < deadline, f"{target} did not say {words}"
        await asyncio.sleep(0.02)


async def accepted(control: ControlPlane, model: str) -> None:
    """A route of that name reaches Envoy and is accepted."""
    control.router.publish(Route(model, ("127.0.0.1:9",)))
    await eventually(lambda: control.acked(model))


async def test_new_certificates_reach_envoy_without_a_restart_and_end_no_stream(tmp_path: Path) -> None:
    """
    Leaf and authority, in the order of the Secrets.

    A control plane of another role is refused before. Each new one is met with what the files say by then; the
    last knows the new authority alone.
    """
    tls, admin = tmp_path / "tls", f"{tmp_path}/admin.sock"
    mount(tls, OLD.identity(MESH))
    identities = Held(OLD.identity(ADAPTER))
    with capture_logs() as logs:
        async with waiting(tmp_path, free_address(), tls=(tls, identities)) as (control, _):
            await control.start()
            await says(admin, "/stats?filter=fail_verify_san", r"cluster\.xds\.ssl\.fail_verify_san: [1-9]")
            assert control.router.connected() == frozenset()
            await identities.become(OLD.identity(ORCHESTRATOR))
            await eventually_ready(admin)
            for trusted, signs in (((OLD, NEW), OLD), ((OLD, NEW), NEW), ((NEW,), NEW)):
                logs.clear()
                identity = signs.identity(MESH, *trusted)
                mount(tls, identity)
                await identities.become(signs.identity(ORCHESTRATOR, *trusted))
                await says(admin, "/certs", f"{x509.load_pem_x509_certificate(identity.certificate).serial_number:x}")
                await accepted(control, f"{signs is NEW}-{len(trusted)}")
                assert "mesh_node_connected" not in {line["event"] for line in logs}
                await control.stop()
                await control.start()
                await eventually(lambda: control.router.connected() == {NODE})
            await accepted(control, "last")

"""A real Envoy and its control plane: what it is sent, what it refuses, and what becomes of either alone."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path

import pytest

from orchestrator.activator.drain import EnvoyDrain
from orchestrator.domain.routes import Route
from orchestrator.platform.local.listener import gave_up_listener
from tests.orchestrator.waiting import eventually
from tests.standalone.envoy_stack import (
    NODE,
    FakeServer,
    Stack,
    admin_get,
    envoy_binary,
    eventually_cluster_count,
    eventually_ready,
    free_address,
    model_message,
    publish,
    running,
    waiting,
)


async def test_a_reconnect_with_equal_hashes_sends_nothing(stack: Stack, server: FakeServer) -> None:
    """A new leader that knows the same routes has them accepted at once, and Envoy updates none."""
    await publish(stack, server.address)
    before = await cluster_updates(stack)
    await stack.control.stop()
    stack.control.router.publish(Route("m", (server.address,)))
    await stack.control.start()
    await eventually(lambda: stack.control.acked("m"))
    assert stack.control.router.strangers() == frozenset()
    assert await cluster_updates(stack) == before
    assert await stack.call("ModelInfer", model_message("m")) == b"server"


async def test_envoy_tries_on_until_it_finds_the_leader(tmp_path: Path, server: FakeServer) -> None:
    """The ports of standbys are closed; it is ready once the leader has spoken."""
    async with running(tmp_path, standbys=2) as stack:
        await publish(stack, server.address)
        assert await stack.call("ModelInfer", model_message("m")) == b"server"


async def cluster_updates(stack: Stack) -> list[bytes]:
    """Envoy's counters of what it was sent."""
    stats = await admin_get(stack.admin, "/stats?filter=cluster_manager.(cds.update_success|cluster_(added|modified))")
    return [line for line in stats.splitlines() if line.startswith(b"cluster_manager.")]


async def test_a_control_plane_that_knows_nothing_removes_nothing(stack: Stack, server: FakeServer) -> None:
    """Traffic flows on while it is away and when it is back; strangers go when told."""
    await publish(stack, server.address)
    await stack.control.stop()
    assert await stack.call("ModelInfer", model_message("m")) == b"server"
    await stack.control.start()
    await eventually(lambda: stack.control.router.strangers() == {"m"})
    assert stack.control.changes == [frozenset({"m"})]
    assert await stack.call("ModelInfer", model_message("m")) == b"server"
    stack.control.router.remove("m")
    await eventually_cluster_count(stack, 0)


async def test_a_frozen_envoy_accepts_nothing(stack: Stack, server: FakeServer) -> None:
    """Though its stream is still open; thawed, it accepts what is current then."""
    await publish(stack, server.address)
    stack.envoy.send_signal(signal.SIGSTOP)
    stack.control.router.publish(Route("n", (server.address,)))
    stack.control.router.publish(Route("n"))
    stack.control.router.publish(Route("n", (server.address,)))
    connection = stack.control.router.connected()
    assert connection == {NODE}
    with pytest.raises(AssertionError, match="waited in vain"):
        await eventually(lambda: stack.control.acked("n"), within=0.5)
    stack.envoy.send_signal(signal.SIGCONT)
    await eventually(lambda: stack.control.acked("n"))
    assert await stack.call("ModelInfer", model_message("n")) == b"server"


async def test_a_resource_that_envoy_refuses_disturbs_no_neighbour(stack: Stack, server: FakeServer) -> None:
    """The refusal shows with Envoy's words, and the others of the same push are accepted."""
    router = stack.control.router
    router.publish(Route("good", (server.address,)))
    router.publish(Route("bad", (f"unix:/{'x' * 200}",)))
    router.publish(Route("fine", (server.address,)))
    await eventually(lambda: stack.control.acked("good") and stack.control.acked("fine"))
    await eventually(lambda: (view := router.view("bad")) and "exceeds maximum" in view.refused)
    assert await stack.call("ModelInfer", model_message("fine")) == b"server"


async def test_a_second_envoy_on_the_port_is_an_error(stack: Stack, tmp_path: Path) -> None:
    """Rather than a rival for half of the connections."""
    binary = envoy_binary()
    config = tmp_path / "second.json"
    config.write_text((tmp_path / "envoy.json").read_text().replace("admin.sock", "second.sock"))
    second = await asyncio.create_subprocess_exec(
        binary,
        "-c",
        config,
        "--use-dynamic-base-id",
        "--disable-hot-restart",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(10):
        _, errors = await second.communicate()
    assert second.returncode != 0
    assert b"cannot bind" in errors
    assert b"in use" in errors


async def test_an_envoy_that_gave_its_listener_up_says_so(tmp_path: Path) -> None:
    """Somebody else listens on its port between its start and its first snapshot; until then it has given up nothing."""
    admin = tmp_path / "admin.sock"
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", 0))
        async with waiting(tmp_path, f"127.0.0.1:{rival.getsockname()[1]}") as (control, _):
            assert not await gave_up_listener(admin)
            rival.listen(1)
            await control.start()
            await eventually_ready(str(admin))
            assert await gave_up_listener(admin)


async def test_an_envoy_that_serves_has_given_nothing_up(stack: Stack) -> None:
    """The other side of the same question."""
    assert not await gave_up_listener(Path(stack.admin))


async def test_it_is_ready_once_it_has_a_snapshot(tmp_path: Path) -> None:
    """However late that comes: a kubelet sends no client to one that knows no route. Nothing else is passed on."""
    asked = f"{tmp_path}/ready.sock"
    async with waiting(tmp_path, free_address()) as (control, _):
        assert b"200 OK" not in await admin_get(asked, "/ready")
        await control.start()
        await eventually_ready(f"{tmp_path}/admin.sock")
        assert b"200 OK" in await admin_get(asked, "/ready")
        assert b"404 Not Found" in await admin_get(asked, "/quitquitquit")


async def test_a_draining_envoy_loses_no_request(stack: Stack, server: FakeServer) -> None:
    """What is under way is waited for; callers are told to leave, and are answered as long as they come."""
    await publish(stack, server.address)
    server.hold.clear()
    held = asyncio.create_task(stack.call("ModelInfer", model_message("m")))
    await eventually(lambda: server.calls)
    drain = asyncio.create_task(
        EnvoyDrain(f"unix:{stack.admin}", least_s=0.0, idle_s=10.0, most_s=30.0, clock=time.monotonic)()
    )
    while b"DRAINING" not in await admin_get(stack.admin, "/ready"):
        await asyncio.sleep(0.01)
    assert not drain.done()
    server.hold.set()
    assert await held == b"server"
    assert await stack.call("ModelInfer", model_message("m")) == b"server"
    assert await drain == "nothing is under way, 0 idle connections are left"

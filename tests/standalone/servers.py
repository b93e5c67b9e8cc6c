"""
The servers of a stack, asked directly: model servers past the mesh, and Envoy of itself.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.standalone.client import Client
from tests.standalone.envoy_stack import admin_get
from tests.standalone.processes import Process
from tests.standalone.stack import Stack


def runtime_of(framework: str) -> str:
    """The built-in runtime that takes it."""
    return "triton-2.x" if framework == "onnx" else "mlserver-0.x"


def adapter_pids(stack: Stack, runtime: str) -> frozenset[int]:
    """The adapters of this runtime's pods: one beside each server."""
    return frozenset(p.pid for p in stack.processes("adapter") if p.option("--runtime") == runtime)


def server(stack: Stack, framework: str) -> Client:
    """A client of the server that has the models of this framework."""
    return Client(address(stack, runtime_of(framework)))


def address(stack: Stack, runtime: str) -> str:
    """Where the server of this runtime's only pod takes requests, as the adapter beside it knows it."""
    return adapter(stack, runtime).option("--server")


def repository(stack: Stack, runtime: str) -> Path:
    """The directory of the models that the server of this runtime's only pod has."""
    return Path(adapter(stack, runtime).option("--model-dir"))


def adapter(stack: Stack, runtime: str) -> Process:
    """The adapter of this runtime's only pod."""
    adapters = [p for p in stack.processes("adapter") if p.option("--runtime") == runtime]
    assert len(adapters) == 1, [p.command for p in stack.processes()]
    return adapters[0]


def indexed(stack: Stack, framework: str) -> frozenset[str]:
    """The models that the server says are ready in it."""
    with server(stack, framework) as client:
        index = client.triton.get_model_repository_index()
        # MLServer says State.READY.
        return frozenset(m.name for m in index.models if m.state.removeprefix("State.") == "READY")


def envoy_says(stack: Stack, target: str) -> bytes:
    """What the admin API of its Envoy answers; nothing while that is not up."""
    bootstrap = json.loads(Path(stack.process("envoy").option("--config-path")).read_text())
    return asyncio.run(admin_get(bootstrap["admin"]["address"]["pipe"]["path"], target))

"""How the generated client reads answers, and that its copy of the protocol is the protocol."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

SAMPLES: Final = Path(__file__).resolve().parents[2] / "samples"

#: In a process of its own: the messages have the names of tritonclient's, which other tests import.
READ: Final = """
import sys
sys.path.insert(0, sys.argv[1])
import grpc, numpy as np
import client
messages, services = grpc.protos_and_services("grpc_predict_v2.proto")
Output = messages.ModelInferResponse.InferOutputTensor
labels = messages.InferTensorContents(int64_contents=[3, 1])
typed = messages.ModelInferResponse(outputs=[Output(datatype="INT64", shape=[2, 1], contents=labels)])
assert client.to_digits(client.read_output(typed)).tolist() == [3, 1]
raw = messages.ModelInferResponse(
    outputs=[Output(datatype="FP32", shape=[2, 10])], raw_output_contents=[np.eye(10, dtype="<f4")[[4, 7]].tobytes()]
)
assert client.to_digits(client.read_output(raw)).tolist() == [4, 7]
for name in messages.DESCRIPTOR.message_types_by_name.values():
    for field in name.fields:
        print(field.full_name, field.number, field.type, field.is_repeated)
for name in messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
    print(name.full_name, name.input_type.full_name, name.output_type.full_name)
"""

TRITONS: Final = """
from tritonclient.grpc import service_pb2 as messages
for name in messages.DESCRIPTOR.message_types_by_name.values():
    for field in name.fields:
        print(field.full_name, field.number, field.type, field.is_repeated)
for name in messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
    print(name.full_name, name.input_type.full_name, name.output_type.full_name)
"""


def lines(program: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", program, str(SAMPLES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


def test_answers_are_read_and_the_protocol_is_the_servers() -> None:
    """Both forms of an answer are read; every field and method is in Triton's copy too, with name, number and type."""
    ours = lines(READ)
    assert ours
    assert ours <= lines(TRITONS)

"""
A client made from nothing but grpc_predict_v2.proto: sends held-out digits to one model.

It shows what any generated client has to do, in whatever language: name the
model in metadata `mm-vmodel-id` (or leave that out: then the message's
`model_name` counts), and read the answer in either of the two forms that the
protocol has. The code of the messages is generated at start, which needs
grpcio-tools.

It does not import tritonclient, which registers the same messages: one process
cannot have both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np

HERE: Final = Path(__file__).resolve().parent
DEADLINE_S: Final = 60.0
#: The protocol's datatypes that a classifier answers with: numpy's name, and the field of InferTensorContents.
DATATYPES: Final[Mapping[str, tuple[str, str]]] = {
    "INT64": ("<i8", "int64_contents"),
    "FP32": ("<f4", "fp32_contents"),
    "FP64": ("<f8", "fp64_contents"),
}


def read_output(response: Any) -> Any:
    """The first output as an array. A server puts the elements into typed fields, or raw beside the tensors."""
    output = response.outputs[0]
    dtype, field = DATATYPES[output.datatype]
    if response.raw_output_contents:
        flat = np.frombuffer(response.raw_output_contents[0], dtype=dtype)
    else:
        flat = np.array(getattr(output.contents, field), dtype=dtype)
    return flat.reshape(list(output.shape))


def to_digits(output: Any) -> Any:
    """One digit a row: models answer with a label, [n] or [n, 1], or with ten probabilities, [n, 10]."""
    return output.argmax(axis=1) if output.ndim == 2 and output.shape[1] == 10 else output.reshape(-1)


def classify(address: str, model: str, images: Any) -> Any:
    """Send `images`, [n, 64] FP32, to `model` in one request. Raises grpc.RpcError."""
    messages, services = grpc.protos_and_services("grpc_predict_v2.proto")
    metadata = (("mm-vmodel-id", model),)
    with grpc.insecure_channel(address) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        described = stub.ModelMetadata(messages.ModelMetadataRequest(name=model), timeout=DEADLINE_S, metadata=metadata)
        tensor = messages.ModelInferRequest.InferInputTensor(
            # MLServer's models say nothing of their input, and take any name.
            name=described.inputs[0].name if described.inputs else "digits",
            datatype="FP32",
            shape=images.shape,
            contents=messages.InferTensorContents(fp32_contents=images.ravel()),
        )
        request = messages.ModelInferRequest(model_name=model, inputs=[tensor])
        return to_digits(read_output(stub.ModelInfer(request, timeout=DEADLINE_S, metadata=metadata)))


def main() -> int:
    """Exit code 0, or 1 when the model could not be asked."""
    parser = argparse.ArgumentParser(description="Send held-out digits to a model.")
    parser.add_argument("model", help="the TrainedModel's name")
    parser.add_argument("--address", default="localhost:8033", help="host:port of the product")
    parser.add_argument(
        "--digits", type=Path, default=HERE.parent / ".demo/models/digits.npz", help="what train.py held out"
    )
    parser.add_argument("--count", type=int, default=20, help="how many of them")
    arguments = parser.parse_args()
    # Where grpc looks for the .proto, however this file was started.
    sys.path.insert(0, str(HERE))
    with np.load(arguments.digits) as held_out:
        images, labels = held_out["images"][: arguments.count], held_out["labels"][: arguments.count]
    try:
        predicted = classify(arguments.address, arguments.model, images)
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    print("predicted", *predicted.astype(int))
    print("truth    ", *labels)
    return 0


if __name__ == "__main__":
    sys.exit(main())

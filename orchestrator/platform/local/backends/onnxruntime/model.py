"""A Triton python-based backend that serves ONNX files by the onnxruntime of the Python package index.

Triton as it comes from the package index has the python backend only.  This file, laid beside that one as
``<backend directory>/onnxruntime/model.py``, makes the ordinary ``backend: "onnxruntime"`` work on a laptop; set-up
links it there.  In a cluster the image carries the native backend, so nothing else may rely on what this one does
differently: it never batches over requests, and completes ``max_batch_size`` with 0 where the native one picks 4.
An instance is a process of 70 MB, and Triton's default is two of them: say ``instance_group [{count: 1}]``.

It runs inside Triton's stub process: no import of the product, nothing printed, and an exception's text is what the
caller of load or infer reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

DEFAULT_FILE: Final = "model.onnx"

DATA_TYPES: Final[dict[str, str]] = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


class ModelError(Exception):
    """The file or its configuration cannot be served; the text goes to whoever asked for the load."""


class TritonPythonModel:
    """One instance of one model.  Triton calls the methods; their names and signatures are its contract."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Fill in the tensors that the author left out; what the author wrote stays as written.

        Nothing else can be filled in: of the answer Triton takes tensors and batching, not the instance count.
        """
        content: dict[str, Any] = config.as_dict()
        batched = content.get("max_batch_size", 0) > 0
        if not (content.get("input") and content.get("output")):
            session = open_session(Path(pb_utils.get_model_dir()), content)
            for key, tensors in (("input", session.get_inputs()), ("output", session.get_outputs())):
                if not content.get(key):
                    content[key] = [describe(tensor, batched=batched) for tensor in tensors]
        return config

    def initialize(self, args: dict[str, str]) -> None:
        config: dict[str, Any] = json.loads(args["model_config"])
        self.session = open_session(Path(args["model_repository"], args["model_version"]), config)
        self.inputs: dict[str, Any] = {tensor.name: tensor for tensor in self.session.get_inputs()}
        provided = [tensor.name for tensor in self.session.get_outputs()]
        self.outputs = [output["name"] for output in config["output"]] or provided
        # Here rather than at the first request: a model that answers no request is not loaded.
        for direction, declared, known in (
            ("input", [each["name"] for each in config["input"]], list(self.inputs)),
            ("output", self.outputs, provided),
        ):
            if unknown := sorted(set(declared) - set(known)):
                raise ModelError(f"the configuration declares {direction} {unknown}, the model has {sorted(known)}")

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            feed = {tensor.name(): to_onnx(tensor, self.inputs[tensor.name()]) for tensor in request.inputs()}
            requested = set(request.requested_output_names())
            names = [name for name in self.outputs if name in requested]
            results = self.session.run(names, feed)
            return pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, np.atleast_1d(value)) for name, value in zip(names, results, strict=True)]
            )
        except Exception as error:
            # One request's failure is that request's answer: raised, it would fail the whole batch of them.
            invalid = isinstance(error, (ValueError, onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument))
            code = pb_utils.TritonError.INVALID_ARG if invalid else pb_utils.TritonError.INTERNAL
            return pb_utils.InferenceResponse([], pb_utils.TritonError(f"onnxruntime: {error}", code))


def open_session(version_dir: Path, config: dict[str, Any]) -> Any:
    # One thread a model: many models share the machine, and Triton runs them side by side.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    path = find_file(version_dir, config.get("default_model_filename") or "")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # The library's text starts with the full path, which tells a remote reader nothing.
        raise ModelError(f"{path.name}: {str(error).replace(str(path), path.name)}") from None


def find_file(version_dir: Path, configured: str) -> Path:
    path = version_dir / (configured or DEFAULT_FILE)
    if path.is_dir():  # a model with external data: the native backend's layout
        path = path / DEFAULT_FILE
    if not path.is_file():
        raise ModelError(f"no {path.relative_to(version_dir)} in version {version_dir.name}")
    return path


def describe(tensor: Any, *, batched: bool) -> dict[str, Any]:
    data_type = DATA_TYPES.get(tensor.type)
    if data_type is None:
        raise ModelError(f"tensor '{tensor.name}' has type {tensor.type}, which Triton cannot carry")
    dims = [size if isinstance(size, int) and size > 0 else -1 for size in tensor.shape]
    if batched:
        if not dims or dims[0] != -1:
            raise ModelError(f"max_batch_size is set, but the first dimension of '{tensor.name}' is fixed: {dims}")
        dims = dims[1:]
    described: dict[str, Any] = {"name": tensor.name, "data_type": data_type, "dims": dims or [1]}
    if batched and not dims:
        described["reshape"] = {"shape": []}  # one element a request: [n, 1] outside, [n] in the model
    return described


def to_onnx(tensor: Any, expected: Any) -> Any:
    value = tensor.as_numpy()
    if not expected.shape:
        value = value.reshape(())  # Triton has no scalars: one element stands for one
    if expected.type != "tensor(string)":
        return value
    # Triton hands bytes over, onnxruntime wants text.
    text = [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in value.flat]
    return np.array(text, dtype=np.object_).reshape(value.shape)

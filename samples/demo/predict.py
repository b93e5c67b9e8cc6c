"""
Predictions with the stock tritonclient, as any client of Triton or MLServer makes them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from samples.demo.process import DemoError

#: As long as a model's first load may take, since a request waits for it.
_DEADLINE_S: Final = 60.0
#: The input's name in the ONNX graph; MLServer takes any name for its models.
_INPUT: Final = "digits"


class Classifier:
    """One model, asked through one connection. Close it after use."""

    def __init__(self, address: str, model: str) -> None:
        self._client = triton.InferenceServerClient(address)
        self._model = model

    def one_by_one(self, images: Any) -> Any:
        """A request a digit; the model is named in metadata, so that no message is read on its way."""
        headers = {"mm-vmodel-id": self._model}
        return np.concatenate([self._ask(images[i : i + 1], headers) for i in range(len(images))])

    def at_once(self, images: Any) -> Any:
        """All digits in one request; the model is named by nothing but the message."""
        return self._ask(images, None)

    def _ask(self, images: Any, headers: dict[str, str] | None) -> Any:
        tensor = triton.InferInput(_INPUT, images.shape, "FP32")
        tensor.set_data_from_numpy(images)
        try:
            result = self._client.infer(self._model, [tensor], headers=headers, client_timeout=_DEADLINE_S)
        except InferenceServerException as error:
            raise DemoError(f"{self._model} did not answer: {error}") from error
        return to_digits(result.as_numpy(result.get_response().outputs[0].name))

    def close(self) -> None:
        self._client.close()


def to_digits(output: Any) -> Any:
    """One digit a row: models answer with a label, [n] or [n, 1], or with ten probabilities, [n, 10]."""
    return output.argmax(axis=1) if output.ndim == 2 and output.shape[1] == 10 else output.reshape(-1)

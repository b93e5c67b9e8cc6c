"""A measurement in which a request failed is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from tests.bench.loader import BenchError, Measured, question
from tests.standalone.client import field_1


def said(**changes: Any) -> str:
    """What the load generator prints, with changes."""
    times = {"mean_ms": 0.5, "p50_ms": 0.4, "p90_ms": 0.7, "p99_ms": 0.9, "max_ms": 2.5}
    counts = {"requests": 30, "seconds": 2.0, "rate": 15.0, "errors": {}, "examples": {}, "cpu_s": {"17": 0.25}}
    return json.dumps({**counts, **times, **changes})


def test_what_is_said_is_read() -> None:
    """Times stay milliseconds; processes are numbers again."""
    read = Measured.parse(said(each=[{"model": "a", "ms": 3.5}]))
    assert (read.requests, read.rate, read.p50, read.p99, read.longest) == (30, 15.0, 0.4, 0.9, 2.5)
    assert read.each == {"a": 3.5}
    assert read.cpu == {17: 0.25}


def test_a_failed_request_is_an_error() -> None:
    """With the status, how often, and the server's words."""
    text = said(errors={"Unavailable": 2}, examples={"Unavailable": "no healthy upstream"})
    with pytest.raises(BenchError, match=r"2 Unavailable \(no healthy upstream\)"):
        Measured.parse(text)


def test_no_request_is_an_error() -> None:
    """Nothing was measured."""
    with pytest.raises(BenchError, match="0 requests"):
        Measured.parse(said(requests=0, rate=0.0))


def test_the_question_lacks_nothing_but_the_name(tmp_path: Path) -> None:
    """With a name before it, it is a request about one digit."""
    request = service_pb2.ModelInferRequest.FromString(field_1("some-model") + question(tmp_path).read_bytes())
    assert request.model_name == "some-model"
    assert [(each.name, each.datatype, list(each.shape)) for each in request.inputs] == [("digits", "FP32", [1, 64])]
    assert len(request.raw_input_contents[0]) == 4 * 64

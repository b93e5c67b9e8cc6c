"""Only the top-level name goes; every other byte stays."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from adapters.layouts.pbtxt import BadConfig, without_name

FULL = b"""# name: "in a comment"
platform: "bogus"
name: "REMOVE_ME"
max_batch_size: 1
input [
  { name: "INPUT__0" data_type: TYPE_UINT8 dims: [1, 28, 28] }
]
output [ { name: 'OUT"PUT' data_type: TYPE_FP32 dims: [10] } ]  # name: "x"
some_field_of_the_future: { name: "kept" }
"""


def test_the_models_name_is_removed_and_the_tensors_names_stay() -> None:
    """Comments and fields that this client does not know stay, too."""
    kept = without_name(FULL).decode()
    assert "REMOVE_ME" not in kept
    for text in ('# name: "in a comment"', '"INPUT__0"', "'OUT\"PUT'", "some_field_of_the_future", '"kept"'):
        assert text in kept


@pytest.mark.parametrize(
    "text",
    [
        'name: "x"',
        'name:"x";backend:"b"',
        'backend: "b" name : "x"',
        'backend: "b",name: "x", max_batch_size: 2',
        "name: 'a' \"b\"\nbackend: 'b'",
        'name: # why\n "x"\nbackend: "b"',
        'backend: "name" name: "y"',
        'name: "a}b{c" input { name: "in" }',
        'default_model_filename: "name" parameters { key: "name" value { string_value: "name: x" } } name: "x"',
        "input < name: 'in' > name: 'x'",
        'name: "esc\\"aped" backend: "b"',
        "",
    ],
)
def test_what_is_left_is_the_same_message_without_a_name(text: str) -> None:
    """Whatever the spelling: separators, quotes, concatenated strings, comments, angle brackets."""
    before, after = model_config_pb2.ModelConfig(), model_config_pb2.ModelConfig()
    text_format.Parse(text, before)
    text_format.Parse(without_name(text.encode()).decode(), after)
    before.ClearField("name")
    assert before == after


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'backend: "x"\ninput [ { name "', "line 2:"),
        (b"\xff\xfe", "byte 0"),
        (b"max_batch_size: many", "line 1:"),
        (b"hello world", "line 1:"),
        (b"ensemble_scheduling {" * 5000, "line"),
        (b"\x00\x01", "line 1:"),
    ],
)
def test_a_corrupt_file_is_refused_with_its_place(content: bytes, where: str) -> None:
    """The user finds it."""
    with pytest.raises(BadConfig, match=where):
        without_name(content)

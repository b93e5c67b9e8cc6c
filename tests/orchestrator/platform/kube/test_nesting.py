"""Whatever is nested too deep is cut there, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.platform.kube import nesting
from orchestrator.platform.kube.nesting import MAX_DEPTH, parsed, too_deep
from tests.properties import examples

#: As deep as an API server reads.
DEEPEST = 10_000

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def nested(depth: int, *, opening: str = "[", closing: str = "]", inside: str = "1") -> str:
    return opening * depth + inside + closing * depth


@pytest.mark.parametrize("around", ['{"a":%s}', '{"items":[{"a":%s},{"b":[1]}]}', '{"type":"ADDED","object":{"a":%s}}'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"x":', "}")])
def test_what_is_too_deep_for_the_parser_is_read_as_far_as_it_goes(around: str, opening: str, closing: str) -> None:
    """The rest of the document is as it is."""
    deep = around % nested(DEEPEST, opening=opening, closing=closing)
    found, plain = parsed(deep.encode()), json.loads(around % 1)
    assert too_deep(found)
    assert _without(found) == _without(plain)


@pytest.mark.parametrize("inside", ['"]"', r'"\"["', r'"\\"', '"{"', '"é\\ud83d"'])
def test_text_is_not_structure(inside: str) -> None:
    """Whatever is in it, before and after what is cut."""
    text = f'{{"a":{inside},"b":{nested(DEEPEST, inside=inside)},"c":{inside}}}'
    found = parsed(text.encode())
    assert (found["a"], found["c"]) == (json.loads(inside), json.loads(inside))


@pytest.mark.parametrize("text", ["[" * DEEPEST, nested(DEEPEST) + "]", nested(DEEPEST) + "1", "[" * DEEPEST + "}"])
def test_what_is_no_json_stays_none(text: str) -> None:
    """Cut or not."""
    with pytest.raises(ValueError, match=r"line 1"):
        parsed(text.encode())


@pytest.mark.parametrize(("depth", "deep"), [(1, False), (MAX_DEPTH, False), (MAX_DEPTH + 1, True), (900, True)])
def test_too_deep_is_a_number_of_levels(depth: int, deep: bool) -> None:
    """Whether the parser took it or not."""
    assert too_deep(parsed(nested(depth).encode())) is deep
    assert too_deep(parsed(nested(depth, opening='{"a":', closing="}").encode())) is deep


@examples(200)
@given(JSON)
def test_what_is_not_deep_is_not_changed(value: Any) -> None:
    """By what cuts."""
    text = json.dumps(value).encode()
    assert nesting._shallow(text) == text


def _without(value: Any) -> Any:
    """The document without what is in `a`."""
    if isinstance(value, dict):
        return {name: _without(each) for name, each in value.items() if name != "a"}
    return [_without(each) for each in value] if isinstance(value, list) else value

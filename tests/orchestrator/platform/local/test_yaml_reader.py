"""Values as kubectl reads them, lines, and bounds."""

from __future__ import annotations

from contextlib import suppress

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.platform.local import yaml_reader
from orchestrator.platform.local.yaml_reader import Unreadable, read_yaml

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(st.lists(_VALUES, max_size=3))
def test_reads_what_yaml_writes(values: list[object]) -> None:
    """All JSON-like values survive a round trip through YAML."""
    text = yaml.safe_dump_all(values, explicit_start=True)
    assert values == [document.value for document in read_yaml(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("a: yes", {"a": True}),
        ("a: '1'", {"a": "1"}),
        ("a: !!str 1", {"a": "1"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}", {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 3}}),
        ("a: [<<]", {"a": ["<<"]}),
    ],
)
def test_scalars_and_references(text: str, value: object) -> None:
    """YAML 1.1, but a timestamp is text, as for the API server's clients."""
    assert [value] == [document.value for document in read_yaml(text)]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: [", 2, "not valid YAML"),
        ("a: 1\n\tb: 2", 2, "not valid YAML"),
        ("a: 1\nb: 2\na: 3", 3, "comes twice"),
        ("a: 1\nb: !thing x", 2, "tag"),
        ("a: *nowhere", 1, "stands for nothing"),
        ("a: &x [*x]", 1, "complete"),
        ("1: a", 1, "not text"),
        ("a: " + "9" * 5000, 1, "not a number"),
        ("a: " + "1:" * 300 + "1.5", 1, "not a number"),
        ("a: 1" + ":1" * 100_000, 1, "not a number"),
        ("namespace: 0x" + "f" * 5000, 1, "not a number"),
        ("a: \x00", 1, "not text"),
        ("[" * 3_000_000, 1, "deeper"),
        ("- " * 100_000, 1, "deeper"),
    ],
)
def test_refusals(text: str, line: int, reason: str) -> None:
    """What cannot be read is refused with its line, at once, whatever its size."""
    with pytest.raises(Unreadable) as caught:
        read_yaml(text)
    assert (line, True) == (caught.value.line, reason in caught.value.reason)


@given(
    st.sampled_from(
        [
            "",
            "!",
            "!!",
            *(f"!!{tag}" for tag in ["int", "float", "bool", "null", "str", "timestamp", "binary", "merge", "value"]),
        ]
    ),
    st.text("+-_.:019abxeEinfINF \t#'é\u0085") | st.text(),
)
@example("!!int", "")
@example("!!float", "-")
@example("!!int", "_")
def test_whatever_a_scalar_says_it_is_a_value_or_refused(tag: str, text: str) -> None:
    """What YAML's own reading of a number or a date raises, of which nobody has a list, included."""
    for written in (text, yaml.safe_dump(text, default_style='"')):
        with suppress(Unreadable):
            read_yaml(f"{tag} {written}")


def test_a_bomb_costs_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aliases of aliases are counted unfolded."""
    monkeypatch.setattr(yaml_reader, "MAX_VALUES", 10_000)
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(Unreadable, match="aliases unfolded"):
        read_yaml("\n".join(lines))


def test_merge_bombs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging is counted as well."""
    monkeypatch.setattr(yaml_reader, "MAX_VALUES", 1_000)
    lines = ["a: &a {" + ", ".join(f"k{n}: 1" for n in range(50)) + "}", "b: {<<: [" + ", ".join(["*a"] * 50) + "]}"]
    with pytest.raises(Unreadable, match="values"):
        read_yaml("\n".join(lines))


def test_lines_of_fields() -> None:
    """The line of the deepest part of a path that exists."""
    first, second = read_yaml("a: 1\n---\n\nspec:\n  model:\n    x: 1\n    y:\n    - 2\n")
    assert first.line == 1
    assert [
        second.line_of(path)
        for path in [
            ("spec", "model", "x"),
            ("spec", "model", "y"),
            ("spec", "model", "y", 0),
            ("spec", "model", "none"),
            ("none",),
        ]
    ] == [6, 7, 8, 5, 4]

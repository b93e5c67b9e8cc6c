"""What the controller and the supervisor say to each other."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.fleet import Pod, Pool
from orchestrator.domain.serving_runtime import SERVER_TYPES
from orchestrator.machinery.epoch import HIGHEST
from orchestrator.platform.local.launch import PodTemplate
from orchestrator.platform.local.wire import (
    MAX_REPLICAS,
    End,
    Epoch,
    Scale,
    WireError,
    Wish,
    parse_pods,
    parse_wish,
    pods_line,
)
from tests.orchestrator.platform.local.support import TEMPLATE

#: Of few characters, which is quick: those that a line, JSON or a decoder could stumble over.
TEXT = st.text('a\n\r"\\{}\x00\x7f\u2028é\U0001f600', max_size=8)
TEMPLATES = st.builds(
    PodTemplate,
    runtime=TEXT,
    server_type=st.sampled_from(SERVER_TYPES),
    capacity_bytes=st.integers(0, 1 << 50),
    env=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
)
PODS = st.builds(
    Pod, uid=TEXT, name=TEXT, runtime=TEXT, adapter=TEXT, endpoint=TEXT, terminating=st.booleans(), message=TEXT
)
#: What JSON can say, with the words of the wire more often than by chance.
WORDS = st.sampled_from(("scale", "replicas", "pods", "runtime", "server_type", "capacity_bytes", "env", "uid", "name"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | WORDS | st.sampled_from(SERVER_TYPES)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | TEXT, inner))


@given(TEMPLATES, st.integers(0, MAX_REPLICAS))
def test_a_wish_survives_the_wire(template: PodTemplate, replicas: int) -> None:
    """Whatever is in names and values, it is one line."""
    wish = Scale(template, replicas)
    assert wish.line().index(b"\n") == len(wish.line()) - 1
    assert parse_wish(wish.line()) == Scale.parse(wish.line()) == wish


@given(st.integers(0, HIGHEST))
def test_an_epoch_survives_the_wire(number: int) -> None:
    """It is asked of every line that the controller reads: no other is taken for one."""
    line = Epoch(number).line()
    assert line.index(b"\n") == len(line) - 1
    assert parse_wish(line) == Epoch.parse(line) == Epoch(number)
    assert Epoch.parse(Scale(TEMPLATE, 1).line()) is Epoch.parse(pods_line((), {})) is None


@pytest.mark.parametrize("said", [str(HIGHEST + 1), "9" * 5000, "-1", "1e999", '"7"', "true"])
def test_what_is_no_epoch_is_none(said: str) -> None:
    """Nobody counts up from it, and nobody is deposed by it."""
    assert Epoch.parse(b'{"epoch":' + said.encode() + b"}") is None


@given(TEXT)
def test_an_end_survives_the_wire(runtime: str) -> None:
    """It needs no template: the runtime may be unknown by now."""
    line = End(runtime).line()
    assert line.index(b"\n") == len(line) - 1
    assert parse_wish(line) == End(runtime)


@given(st.lists(PODS, max_size=3).map(tuple), st.dictionaries(TEXT, st.integers(0, MAX_REPLICAS), max_size=2))
def test_a_list_of_pods_survives_the_wire(pods: tuple[Pod, ...], replicas: dict[str, int]) -> None:
    """In its order; an empty list is a list."""
    line = pods_line(pods, replicas)
    assert line.index(b"\n") == len(line) - 1
    assert parse_pods(line) == (pods, {runtime: Pool(count) for runtime, count in replicas.items()})


def wished(line: bytes) -> Wish | Epoch | None:
    """The wish that a line is; None if it is refused."""
    try:
        return parse_wish(line)
    except WireError:
        return None


def listed(line: bytes) -> tuple[Pod, ...]:
    """The list that a line is; empty if it is refused."""
    try:
        return parse_pods(line)[0]
    except WireError:
        return ()


def in_bounds(wish: Wish | Epoch | None) -> bool:
    """What a supervisor can do."""
    if isinstance(wish, Scale):
        return 0 <= wish.replicas <= MAX_REPLICAS and wish.template.server_type in SERVER_TYPES
    return True


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_hostile_line_is_a_wire_error(line: bytes) -> None:
    """And no other error, whatever it says."""
    assert in_bounds(wished(line))
    assert all(isinstance(pod, Pod) for pod in listed(line))


@given(st.sampled_from(("scale", "replicas", "runtime", "server_type", "capacity_bytes", "env")), JSON)
def test_a_wish_with_a_strange_field_is_in_bounds_or_refused(field: str, value: Any) -> None:
    """Never a template of another kind of server, never a number out of bounds."""
    raw = json.loads(Scale(TEMPLATE, 1).line())
    (raw if field in raw else raw["scale"])[field] = value
    assert in_bounds(wished(json.dumps(raw).encode()))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"scale": 1, "replicas": 1}',
        Scale(TEMPLATE, 65).line(),
        Scale(TEMPLATE, -1).line(),
        Scale(TEMPLATE, 1).line().replace(b"mlserver", b"torchserve"),
        # More than a number can hold, more than a stack can hold, more digits than are read.
        Scale(TEMPLATE, 1).line().replace(b":1}", b":1e999}"),
        Scale(TEMPLATE, 1).line().replace(b":10,", b":Infinity,"),
        b"[" * 100_000,
        b'{"replicas": ' + b"1" * 5_000 + b"}",
    ],
)
def test_what_is_no_wish_is_refused(line: bytes) -> None:
    """With an error that does not repeat it: environments may hold secrets."""
    with pytest.raises(WireError) as caught:
        parse_wish(line)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b"{}",
        b'{"pods": []}',
        b'{"pods": [{"uid": 1}], "replicas": {}}',
        b'{"pods": 1, "replicas": {}}',
        b'{"pods": ["x"], "replicas": {}}',
        b'{"pods": [], "replicas": []}',
        b'{"pods": [], "replicas": {"r": true}}',
        b'{"pods": [], "replicas": {"r": 65}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_of_pods_is_refused(line: bytes) -> None:
    """A pod with a field that is not known here, or without one that is, included."""
    with pytest.raises(WireError):
        parse_pods(line)


@pytest.mark.parametrize("field", ["uid", "name", "runtime", "adapter", "endpoint", "terminating", "message"])
def test_a_field_of_another_type_is_refused(field: str) -> None:
    """It would fail much later, far from who wrote it."""
    pod = Pod(uid="u", name="n", runtime="r", adapter="unix:/a", endpoint="e")
    line = json.dumps({"pods": [{**dataclasses.asdict(pod), field: 7}], "replicas": {}}).encode()
    with pytest.raises(WireError):
        parse_pods(line)


def test_a_wish_does_not_show_what_it_holds() -> None:
    """Values of a ServingRuntime's environment are the user's."""
    secret = PodTemplate(runtime="r", server_type="triton", capacity_bytes=1, env=(("TOKEN", "hunter2"),))
    assert "hunter2" not in repr(Scale(secret, 1))

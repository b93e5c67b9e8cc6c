"""The brake of law 9: portions, and the time between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.brake import SHARE, WINDOW_S, Brake
from tests.picks import Picks, numbers
from tests.properties import examples


def test_a_fifth_goes_and_the_rest_waits() -> None:
    """The next portion goes a while after the last of the one before, and is a fifth of what is left."""
    brake = Brake()
    waits = [brake.wait(f"m{n}", serving=10, now=float(n)) for n in range(4)]
    assert waits == [0.0, 0.0, WINDOW_S - 1.0, WINDOW_S - 2.0]
    now = 1.0 + WINDOW_S
    assert [brake.wait(f"m{n}", serving=8, now=now) for n in (2, 3)] == [0.0, WINDOW_S]


def test_one_goes_however_few_there_are() -> None:
    """Else the last would stay for ever."""
    brake = Brake()
    assert brake.wait("a", serving=2, now=0.0) == 0.0
    assert brake.wait("b", serving=2, now=1.0) > 0
    assert brake.wait("b", serving=1, now=WINDOW_S) == 0.0


def test_what_was_let_through_goes_all_the_way() -> None:
    """A removal takes several looks; one that is called off or done is asked about anew."""
    brake = Brake()
    assert brake.wait("a", serving=1, now=0.0) == 0.0
    assert brake.wait("a", serving=0, now=2 * WINDOW_S) == 0.0
    assert brake.wait("b", serving=1, now=2 * WINDOW_S) == 0.0
    brake.forget("a")
    assert brake.wait("a", serving=1, now=2 * WINDOW_S) == WINDOW_S


@examples(100)
@given(st.lists(numbers, min_size=1, max_size=60))
def test_in_no_window_does_more_than_a_portion_go(steps: list[Picks]) -> None:
    """Whoever asks, whenever, however often; and everybody goes in the end, if they ask when they were told to."""
    brake, now, serving = Brake(), 0.0, 40
    gone: dict[str, float] = {}
    for picks in steps:
        name = f"m{picks.pick(*range(40))}"
        if name in gone:
            continue
        if brake.wait(name, serving=serving, now=now) == 0.0:
            gone[name] = now
            serving -= picks.pick(1, 0)
        if picks.pick(False, False, True):
            brake.forget(name)
        now += picks.pick(0.0, 0.0, 1.0, WINDOW_S / 2)
    times = sorted(gone.values())
    for start in times:
        assert sum(start <= at < start + WINDOW_S for at in times) <= 40 // SHARE
    for name in {f"m{n}" for n in range(40)} - gone.keys():
        while (wait := brake.wait(name, serving=1, now=now)) > 0:
            now += wait

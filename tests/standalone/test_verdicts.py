"""The judgement on overlapping requests, by itself: a test that cannot fail proves nothing."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from tests.standalone import witness
from tests.standalone.readiness import Readiness
from tests.standalone.verdicts import Outcome, Said, Sample, Window, lies, phases, said_instead
from tests.standalone.watch import KNOWN_S, LEAST, Watch
from tests.standalone.witness import RATE


def answer(sent: float, ended: float, number: int) -> Outcome:
    return Outcome("m", sent, ended, grpc.StatusCode.OK, number, "")


def loss(sent: float, ended: float) -> Outcome:
    return Outcome("m", sent, ended, grpc.StatusCode.UNAVAILABLE, None, "")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], []),
        ([answer(0, 1, 1), answer(1, 2, 1)], [1]),
        ([answer(0, 1, 1), answer(2, 3, 2), answer(4, 5, 2)], [1, 2]),
        # The old one answers what was sent before the new one had answered: nobody went back.
        ([answer(0, 1, 1), answer(2, 5, 2), answer(3, 6, 1), answer(6, 7, 2)], [1, 2]),
        # It was sent afterwards.
        ([answer(0, 1, 1), answer(2, 5, 2), answer(5.1, 6, 1)], [1, 2, 1]),
        # A request that was held for long may be answered by whoever was there in its time.
        ([answer(0, 1, 1), answer(2, 3, 2), answer(0, 9, 1)], [1, 2]),
        ([answer(0, 1, 1), answer(2, 3, 2), answer(4, 5, 1), answer(0, 9, 2)], [1, 2, 1]),
        ([answer(0, 1, 1), loss(1, 2), answer(2, 3, 2)], [1, 2]),
    ],
)
def test_phases(outcomes: list[Outcome], expected: list[int]) -> None:
    """A version that answers what was sent after another had answered is a new phase."""
    assert phases(outcomes) == expected
    assert phases(outcomes[::-1]) == expected


@pytest.mark.parametrize(
    ("ready", "lie"),
    [
        ([True, True, True], True),
        ([False, True, True], False),
        ([True, False, True], False),
        ([True, True, False], False),
    ],
)
def test_lies(ready: list[bool], lie: bool) -> None:
    """READY was True before the request, at each look while it was under way, and after it, and it failed."""
    samples = [Sample(at, at + 0.01, {"m": Said(said)}) for at, said in zip((0, 1, 2), ready, strict=True)]
    failed = loss(0.5, 1.5)
    assert lies([failed, answer(0.5, 1.5, 1)], samples) == ([failed] if lie else [])
    assert not lies([failed], samples[1:]), "nobody had looked before"
    assert not lies([failed], samples[:2]), "nobody has looked since"


def test_what_was_said_instead_of_ready() -> None:
    """Each stretch of the same words is one line, with its time; of a model that was READY throughout there is none."""
    true, lost, comes = Said(True), Said(False, "False Lost: it died"), Said(False, "False Loading: it comes")
    said = [{"m": each, "n": true} for each in (true, lost, lost, comes, true, lost)]
    samples = [Sample(at, at + 0.01, each) for at, each in enumerate([*said, {"n": true}], start=1)]
    lines = [
        "m {} to {} s: False Lost: it died",
        "m {} to {} s: False Loading: it comes",
        "m {} to {} s: False Lost: it died",
        "m {} to {} s: not listed",
    ]
    from_first = [("+1.00", "+2.01"), ("+3.00", "+3.01"), ("+5.00", "+5.01"), ("+6.00", "+6.01")]
    assert said_instead(samples, ["m", "n"]) == [line.format(*at) for line, at in zip(lines, from_first, strict=True)]
    assert said_instead(samples, ["m"], since=2.5)[0] == "m -0.50 to +0.51 s: False Lost: it died"
    assert said_instead([], ["m"]) == []


def test_window() -> None:
    """What was under way in it is excused, and nothing else."""
    window = Window(1.0, 2.0)
    assert window.excuses(loss(0.0, 1.0))
    assert window.excuses(loss(2.0, 3.0))
    assert window.excuses(loss(0.0, 3.0))
    assert not window.excuses(loss(0.0, 0.9))
    assert not window.excuses(loss(2.1, 3.0))
    soon = replace(window, known=4.0)
    assert soon.excuses(loss(2.0, 4.0))
    assert not soon.excuses(loss(1.5, 4.1)), "it was held"


class Told(witness.Testimony):
    """Of outcomes that a test makes up, and of a connection at 5 s."""

    def __init__(self, *outcomes: Outcome) -> None:
        super().__init__()
        self._connected.append(5.0)
        for outcome in outcomes:
            self._add(outcome)


ENOUGH = (*(answer(0, 1, 1),) * LEAST, *(replace(answer(0, 1, 1), model="n"),) * LEAST)


def judged(watch: Watch) -> str:
    """What is wrong, "" if nothing is."""
    try:
        watch.judge()
    except AssertionError as error:
        return str(error)
    return ""


def test_server_that_died_excuses_its_own_models() -> None:
    """Around the time of its death; nobody else's, no other code than UNAVAILABLE, and not what was held after it."""

    def verdict(lost: Outcome) -> str:
        watch = Watch(Told(*ENOUGH, lost), Readiness("http://nowhere"), ("m", "n"))
        watch.excuse(Window(1.0, 2.0), "m")
        return judged(watch)

    assert not verdict(loss(1.5, 1.6))
    assert not verdict(loss(1.5, 2.0 + KNOWN_S))
    assert "requests lost" in verdict(loss(1.5, 2.1 + KNOWN_S))
    assert "requests lost" in verdict(loss(2.2, 2.3))
    assert "requests lost" in verdict(replace(loss(1.5, 1.6), model="n"))
    assert "requests lost" in verdict(replace(loss(1.5, 1.6), code=grpc.StatusCode.INTERNAL))


def test_envoy_that_was_away_excuses_until_it_takes_connections() -> None:
    """All models, and not a moment longer."""

    def verdict(lost: Outcome) -> str:
        watch = Watch(Told(*ENOUGH, lost), Readiness("http://nowhere"), ("m", "n"))
        watch.excuse_away(Window(1.0, 2.0))
        return judged(watch)

    assert not verdict(replace(loss(4.0, 4.1), model="n"))
    assert not verdict(loss(1.5, 30.0))
    assert "requests lost" in verdict(loss(5.01, 5.02))


def test_model_that_was_hardly_heard_was_not_watched() -> None:
    watch = Watch(Told(*ENOUGH[1:]), Readiness("http://nowhere"), ("m", "n"))
    assert judged(watch) == f"m answered {LEAST - 1} requests only"


def test_a_witness_that_hardly_asked_watched_nothing() -> None:
    """Two requests a second are not fifty, though enough of them were answered in the end; nor are fifty two hundred."""

    def verdict(lasted: float, rate: float = RATE) -> str:
        told = Told(*ENOUGH)
        told.lasted = lasted
        return judged(Watch(told, Readiness("http://nowhere"), ("m", "n"), rate=rate))

    assert not verdict(len(ENOUGH) / RATE)
    assert "nobody watched" in verdict(len(ENOUGH) / RATE, rate=4 * RATE)
    assert verdict(len(ENOUGH) / 2) == f"{len(ENOUGH)} requests in {len(ENOUGH) / 2:.1f} s: nobody watched"

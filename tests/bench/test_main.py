"""What is asked for is what is measured, and what the document says was asked for."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import command, main, parser


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "make bench"),
        (["--quick"], "make bench ARGS=--quick"),
        (["warm", "--quick", "--output", "/somewhere"], "make bench ARGS='--quick warm'"),
    ],
)
def test_the_command_is_said_without_places(words: list[str], said: str) -> None:
    """Anybody could type it; where its results went is nobody else's business."""
    assert command(parser().parse_args(words)) == said


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started, naming those that there are."""
    with pytest.raises(SystemExit):
        main(["lukewarm"])
    assert "lukewarm" in (said := capsys.readouterr().err)
    assert "warm, first, ready, scale, cluster" in said

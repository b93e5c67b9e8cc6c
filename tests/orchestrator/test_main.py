"""Commands and exit codes, in this process; what the commands do is tested with them."""

from __future__ import annotations

import dataclasses
import json
from argparse import SUPPRESS
from pathlib import Path
from typing import Any

import pytest

from orchestrator.__main__ import DEFAULT_ADMIN, _parser, _run, main
from orchestrator.settings import VERSION, StandaloneSettings

pytestmark = pytest.mark.usefixtures("own_logs")

#: The settings' names of what is called otherwise on the command line.
RENAMED = {"pool_grace_s": "pool_grace", "recheck_s": "recheck"}


def test_defaults_are_the_settings() -> None:
    """What is not said on the command line is what StandaloneSettings have, for every one of them."""
    told = vars(_parser().parse_args(["standalone", "models", "--state-dir", "state"]))
    defaults = {
        f.name: f.default for f in dataclasses.fields(StandaloneSettings) if f.default is not dataclasses.MISSING
    }
    assert {name: told[RENAMED.get(name, name)] for name in defaults} == defaults
    assert (told["directory"], told["state_dir"]) == (Path("models"), Path("state"))


def test_verbs_ask_the_port_that_standalone_serves() -> None:
    """Without options, one finds the other."""
    port = _parser().parse_args(["standalone", "models", "--state-dir", "state"]).admin_port
    for words in (["get", "trainedmodels"], ["get", "tm", "m", "-o", "wide"], ["describe", "trainedmodel", "m"]):
        assert _parser().parse_args(words).admin == DEFAULT_ADMIN == f"http://127.0.0.1:{port}"


def test_help_has_every_default() -> None:
    """Of options; argparse itself says it where it is asked to."""
    (commands,) = (a.choices for a in _parser()._actions if isinstance(a.choices, dict))
    for command, parser in commands.items():
        for action in parser._actions:
            if action.option_strings and action.default not in (None, SUPPRESS):
                assert "(default" in (action.help or ""), f"{command} {action.option_strings}"


@pytest.mark.parametrize(("said", "user"), [([], None), (["--runtime-user", "7"], 7), (["--runtime-user", "image"], 0)])
def test_a_user_of_runtime_pods_or_none(said: list[str], user: int | None) -> None:
    """0 is nobody, and cannot be said as such: it would be root."""
    assert _parser().parse_args(["controller", *said]).runtime_user == user
    with pytest.raises(SystemExit):
        main(["controller", "--runtime-user", "0"])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """As logs and answers of ServerMetadata have it."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"wml-serving {VERSION}\n"


@pytest.mark.parametrize(
    "words",
    [
        "",
        "serve",
        "standalone",
        "standalone models",
        "standalone models --state-dir state --grpc-port many",
        "standalone models --state-dir state --log-level loud",
        "controller",
        "activator --settings",
        "get pods",
        "get trainedmodels -o table",
        "describe trainedmodel",
    ],
)
def test_wrong_use_is_exit_code_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With a usage line, and nothing started."""
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: wml-serving")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The log."""
    said = capsys.readouterr()
    assert said.out == ""
    return [json.loads(line) for line in said.err.splitlines()]


@pytest.mark.parametrize("command", ["controller", "activator"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ('{"log_level": "hunter2"}', "missing settings"),
        ('{"log_level": "hunter2", "colour": "hunter2"}', "unknown settings colour"),
    ],
)
def test_broken_settings_are_one_critical_line(
    command: str, text: str | None, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, the process and the problem by name; a traceback for us, without what variables held."""
    file = tmp_path / "settings.json"
    if text is not None:
        file.write_text(text)
    assert main([command, "--settings", str(file)]) == 1
    (line,) = lines(capsys)
    assert (line["level"], line["event"], line["process"]) == ("critical", "process_failed", command)
    assert problem in line["problem"]
    assert line["exception"]
    assert "hunter2" not in json.dumps(line)
    assert "locals" not in json.dumps(line)


def test_an_interrupt_before_anything_runs_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while `standalone` is still being read in: as a shell calls a process that a signal ended."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.cli.standalone.standalone", interrupted)
    assert main(["standalone", str(tmp_path), "--state-dir", str(tmp_path / "state")]) == 130
    monkeypatch.setattr("orchestrator.__main__._parser", interrupted)
    assert main(["standalone"]) == 130
    assert capsys.readouterr() == ("", "")


def test_what_ends_well_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0."""

    async def work() -> None:
        return

    assert _run("controller", work) == 0
    assert lines(capsys) == []


def test_whatever_ends_a_process_is_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An error of several tasks as well; what the failing function held is not in it."""

    async def work() -> None:
        credentials = "hunter" * 2
        raise ExceptionGroup("tasks", [OSError(len(credentials), "No space left on device")])

    assert _run("controller", work) == 1
    (line,) = lines(capsys)
    assert "No space left on device" in line["problem"]
    assert "hunterhunter" not in json.dumps(line)

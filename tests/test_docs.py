"""
The documents say what is so: every reason is explained, every command exists, every link leads somewhere.

What the commands do is shown by tests/standalone/test_readme.py.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest
import yaml

from orchestrator.__main__ import _parser
from orchestrator.domain.config import Config, parse_config
from orchestrator.domain.errors import EventReason, Reason
from orchestrator.domain.serving_runtime import parse_serving_runtime
from orchestrator.domain.storage import SECRET_NAME, StorageConfig, find_credentials
from orchestrator.domain.trained_model import parse_storage_uri, parse_trained_model
from tests.documents import fences, typed

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENTS: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SAMPLES: Final = sorted(ROOT.glob("samples/*.yaml"))


def commands(document: Path) -> list[list[str]]:
    """The commands that a reader is told to type, in words."""
    return [shlex.split(line, comments=True) for line in typed(document.read_text())]


COMMANDS: Final = [(document, words) for document in DOCUMENTS for words in commands(document)]


def test_every_reason_has_a_paragraph() -> None:
    """Troubleshooting explains each condition reason under a heading of its own, in the order of the code, and no other."""
    text = (ROOT / "docs/operations.md").read_text().split("\n## Troubleshooting\n", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == [reason.value for reason in Reason]
    for reason in Reason:
        paragraph = text.split(f"### {reason}\n", 1)[1].split("\n### ", 1)[0].strip()
        assert len(paragraph) > 80, reason


def test_every_reason_of_an_event_has_a_line() -> None:
    """Those that are no condition's, in the order of the code, and no other; the code names each by its constant."""
    text = (ROOT / "docs/operations.md").read_text().split("\n## Events\n", 1)[1].split("\n## ", 1)[0]
    told = dict(re.findall(r"^- `(\w+)`(.+)$", text, re.MULTILINE))
    assert list(told) == [reason.value for reason in EventReason]
    assert all(len(line) > 40 for line in told.values())
    sources = (path.read_text() for path in ROOT.glob("orchestrator/**/*.py"))
    assert not [literal for source in sources for literal in re.findall(r'\breason=f?"[^"]*"', source)]


def test_every_setting_is_listed() -> None:
    """What ConfigMap `wml-serving-config` takes is in the table of docs/operations.md."""
    text = (ROOT / "docs/operations.md").read_text().split("\n## Configuration\n", 1)[1].split("\n## ", 1)[0]
    listed = set(re.findall(r"^\| `([\w.<>]+)`", text, re.MULTILINE))
    _, [problem] = parse_config({"nonsense": "1"}, Config())
    assert set(str(problem).split("known: ")[1].split(", ")) == listed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """A relative link names a file of the checkout, and a heading of it if it says one."""
    for target, heading in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", document.read_text()):
        if "://" in target:
            continue
        file = document.parent / target if target else document
        assert file.exists(), f"{document.name}: {target}"
        if heading:
            assert heading in anchors(file), f"{document.name}: {target}#{heading}"


def anchors(document: Path) -> set[str]:
    """Headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_there_are_commands() -> None:
    """The README's commands are found at all, so that the tests below look at something."""
    readme = [words[:1] for document, words in COMMANDS if document.name == "README.md"]
    assert ["make"] in readme
    assert [".venv/bin/wml-serving"] in readme


@pytest.mark.parametrize(
    ("document", "words"), COMMANDS, ids=lambda each: " ".join(each) if isinstance(each, list) else each.name
)
def test_commands_exist(document: Path, words: list[str]) -> None:
    """Each command is a target of the Makefile, a verb of ours with arguments that it takes, or a file of the checkout."""
    while re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    program, *arguments = words
    if program == "make":
        # Targets, up to what is said to one of them.
        said = next((i for i, word in enumerate(arguments) if "=" in word), len(arguments))
        assert set(arguments[:said]) <= make_targets(), document
    elif program.endswith("/wml-serving"):
        plain = arguments[: next((i for i, word in enumerate(arguments) if re.match(r"\d?>|&", word)), None)]
        _parser().parse_args(plain)
    elif program.endswith("/python"):
        assert (ROOT / arguments[0]).is_file(), document
    for word in words:
        if word.startswith(("samples/", "scripts/", "docs/")):
            assert (ROOT / word).exists(), f"{document.name}: {word}"


def make_targets() -> set[str]:
    """What one may ask make for."""
    rules = re.findall(r"^([a-z][a-z -]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {target for rule in rules for target in rule.split()}


def test_make_targets_in_prose_exist() -> None:
    """`make x` in running text is a target, too."""
    for document in DOCUMENTS:
        for targets in re.findall(r"`make ([a-z ]+)`", document.read_text()):
            assert set(targets.split()) <= make_targets(), f"{document.name}: make {targets}"


def test_python_in_documents_compiles() -> None:
    """Python blocks are Python."""
    blocks = [(document, block) for document in DOCUMENTS for block in fences(document.read_text(), "python")]
    assert blocks
    for document, block in blocks:
        compile(block, str(document), "exec")


def test_decisions_are_listed() -> None:
    """The list of decisions has every decision, and names are dates and titles."""
    directory = ROOT / "docs/decisions"
    found = {path.name for path in directory.glob("*.md")} - {"README.md", "template.md"}
    assert found == set(re.findall(r"\]\((\d[^)]+)\)", (directory / "README.md").read_text()))
    assert all(re.fullmatch(r"20\d{6}-[a-z0-9-]+\.md", name) for name in found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_yaml_in_documents_is_what_the_product_takes(document: Path) -> None:
    """YAML blocks are objects of its kinds, but for what it takes the place of."""
    for raw in map(yaml.safe_load, fences(document.read_text(), "yaml")):
        if raw["kind"] == "ServingRuntime":
            assert not parse_serving_runtime(raw).unused
        elif raw["kind"] != "InferenceService":
            parse_storage_uri(parse_trained_model(raw).storage_uri)


def test_what_a_model_of_modelmesh_becomes_is_the_same_model() -> None:
    """The example says under other names what the object before said: which file, of which kind, with which key."""
    before, after = map(yaml.safe_load, fences((ROOT / "docs/migrating.md").read_text(), "yaml"))
    model, said = parse_trained_model(after), before["spec"]["predictor"]["model"]
    uri = parse_storage_uri(model.storage_uri)
    assert model.name == before["metadata"]["name"]
    assert (model.framework, model.secret_key) == (said["modelFormat"]["name"], said["storage"]["key"])
    assert (uri.bucket, uri.path) == (said["storage"]["parameters"]["bucket"], said["storage"]["path"])


@pytest.mark.parametrize("path", [path for path in SAMPLES if path.stem != SECRET_NAME], ids=lambda path: path.name)
def test_samples_are_trained_models(path: Path) -> None:
    """Each sample is one TrainedModel that names a credential of the sample Secret, and a file that train.py writes."""
    model = parse_trained_model(yaml.safe_load(path.read_text()))
    secret = yaml.safe_load((ROOT / f"samples/{SECRET_NAME}.yaml").read_text())
    assert secret["kind"] == "Secret"
    assert secret["metadata"]["name"] == SECRET_NAME
    credentials = find_credentials(StorageConfig(secret["stringData"]), model.secret_key)
    source = parse_storage_uri(model.storage_uri)
    assert source.bucket == credentials.default_bucket
    assert f'"{source.path}": ' in (ROOT / "samples/train.py").read_text()

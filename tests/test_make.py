"""
What make does of itself, before a verb's own program runs.

A recorder stands in for the Kubernetes node's, and for what builds images: the Containerfile itself is built by
tests/cluster/node/images.py, for the cluster's tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A Makefile, and a node's program that writes down what it is told."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("orchestrator", "adapters", "protos", "samples", "scripts", "tests", ".cache/cluster"):
        (tmp_path / folder).mkdir(parents=True)
    recorder = tmp_path / "recorder"
    recorder.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >>told\n[ -d .cache ] && exit "${FAILS:-0}"\n')
    recorder.chmod(0o755)
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ("make", "CLUSTER=./recorder", *arguments)
    # Not a part of a make that runs these tests.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command, cwd=checkout, env=own | environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "command",
    ["echo $HOME $$ $(date) ${x}", """echo "a  b" 'c' `d` \\"e\\" # f""", "x=1; echo $x > y & wait", "$(error no)"],
)
def test_a_command_for_the_node_is_a_shells_to_the_letter(checkout: Path, command: str) -> None:
    """Make has a meaning of its own for a dollar sign; quotes are for the shell inside."""
    done = make(checkout, "cluster-exec", f"CMD={command}")
    assert done.returncode == 0, done.stderr
    assert (checkout / "told").read_text() == f"exec\n{command}\n"


@pytest.mark.parametrize("verb", ["clean", "distclean"])
def test_a_node_is_taken_down_before_its_files(checkout: Path, verb: str) -> None:
    """A node that lost them would run on, and nobody would find it."""
    (checkout / ".cache/cluster/node.lock").touch()
    assert make(checkout, verb).returncode == 0
    assert (checkout / "told").read_text() == "down\n"
    assert not (checkout / ".cache").exists()


def test_the_files_of_a_node_that_does_not_end_are_left(checkout: Path) -> None:
    """And it is said why."""
    (checkout / ".cache/cluster/node.lock").touch()
    done = make(checkout, "clean", FAILS="1")
    assert done.returncode != 0
    assert "make, then make clean" in done.stderr
    assert (checkout / ".cache").is_dir()


def test_without_a_node_nobody_is_asked(checkout: Path) -> None:
    """Neither where there never was one, nor where make has set up nothing."""
    assert make(checkout, "clean").returncode == 0
    assert not (checkout / "told").exists()


def test_a_cluster_is_a_node_with_the_product(checkout: Path) -> None:
    """In this order, once their parts are built."""
    done = make(checkout, "--old-file=cluster-parts", "cluster", "cluster-down")
    assert done.returncode == 0, done.stderr
    assert (checkout / "told").read_text() == "up\napply\ndown\n"


@pytest.fixture
def tools(checkout: Path) -> Path:
    """A PATH with nothing that builds images, and what the Makefile needs to be read."""
    shutil.copy(ROOT / "setup.cfg", checkout)
    folder = checkout / "tools"
    folder.mkdir()
    for name in ("make", "sed", "cut"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


@pytest.mark.parametrize("tool", ["buildah", "podman", "docker"])
def test_the_image_is_built_under_the_name_that_the_manifests_have(checkout: Path, tools: Path, tool: str) -> None:
    """By whichever tool there is, from the Containerfile, with what one gives it besides."""
    (tools / tool).symlink_to(checkout / "recorder")
    done = make(checkout, "images", "ARGS=--layers --quiet", PATH=str(tools))
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load((ROOT / "manifests" / "workloads.yaml").read_text())
    (image,) = {
        each["image"]
        for item in read["items"]
        for each in item["spec"]["template"]["spec"]["containers"]
        if each["name"] == "orchestrator"
    }
    built = ["build", "--file", "Containerfile", "--tag", image, "--layers", "--quiet", "."]
    assert (checkout / "told").read_text().splitlines() == built


def test_without_a_tool_no_image_is_built(checkout: Path, tools: Path) -> None:
    """And it is said what is missing."""
    done = make(checkout, "images", PATH=str(tools))
    assert done.returncode != 0
    assert "needs buildah, podman or docker" in done.stderr

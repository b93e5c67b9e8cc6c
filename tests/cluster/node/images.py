"""
The images of the tests: ours from the Containerfile that users build, the servers from environments that `make` set up.

A registry of images is not to be had everywhere that a package index is, so
the servers' images are made of what the locks in requirements/ installed, laid
out and called as in the official images. An image is named by its content:
what exists is not built again, and a new one is a rolling update.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.node import inside, pip, store, units
from tests.cluster.node.place import CACHE, ROOT

REPOSITORY: Final = "localhost/wml-serving"
_HERE: Final = ROOT / "tests" / "cluster" / "images"
_RUNTIMES: Final = ROOT / ".runtimes"
_BACKENDS: Final = ROOT / "orchestrator" / "platform" / "local" / "backends"
#: Debian 12's Python is the one that the environments must be of, since they are copied.
_SUITE: Final = "bookworm"
_PYTHON: Final = "3.11"
_PACKAGES: Final = ("ca-certificates", "libgomp1", f"libpython{_PYTHON}", "python3-venv")
_SITE: Final = f"lib/python{_PYTHON}/site-packages"
_DIST: Final = f"usr/local/lib/python{_PYTHON}/dist-packages"
#: What an environment has besides what its lock names.
_SETUP: Final = frozenset({"pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils"})
_TRITON: Final = _RUNTIMES / "triton" / _SITE
#: Paths below the root of an image → files or directories here.
Pieces = dict[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What one is made of."""

    name: str
    containerfile: Path
    #: What its content follows from.
    sources: tuple[Path, ...] = ()
    #: What lies in its context; none: the checkout itself.
    pieces: Callable[[], Pieces] | None = None
    base: bool = True

    def tag(self) -> str:
        """Its content, in short."""
        digest = hashlib.sha256()
        for path in sorted(_files(self.containerfile, *self.sources)):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
        digest.update(f"{_SUITE} {_PACKAGES} {BASE.tag() if self.base else ''}".encode())
        return digest.hexdigest()[:12]

    def reference(self) -> str:
        """Its name, for a pod."""
        return units.PAUSE if self.name == "pause" else f"{REPOSITORY}/{self.name}:{self.tag()}"


def _files(*paths: Path) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        else:
            yield path


def _site_packages(environment: str) -> Pieces:
    """The packages of an environment, where Debian's Python looks for them."""
    site = _RUNTIMES / environment / _SITE
    return {f"{_DIST}/{p.name}": p for p in site.iterdir() if p.name.split("-")[0] not in _SETUP}


def _triton() -> Pieces:
    wheel = _TRITON / "pytriton" / "tritonserver"
    root = "opt/tritonserver"
    packages = {path: source for path, source in _site_packages("triton").items() if "pytriton" not in source.name}
    return packages | {
        f"{root}/bin": wheel / "bin",
        f"{root}/caches": wheel / "caches",
        f"{root}/lib": _TRITON / "nvidia_pytriton.libs",
        f"{root}/backends/python": _RUNTIMES / "triton" / "backends" / "python",
        f"{root}/backends/onnxruntime/model.py": _BACKENDS / "onnxruntime" / "model.py",
    }


def _mlserver() -> Pieces:
    return _site_packages("mlserver") | {"opt/wml/wml_repository.py": _BACKENDS / "mlserver" / "wml_repository.py"}


def _envoy() -> Pieces:
    return {"usr/local/bin/envoy": _RUNTIMES / "envoy" / _SITE / "envoy" / "_bin" / "envoy"}


def _s3() -> Pieces:
    return {"usr/local/bin/rclone": ROOT / ".venv" / "bin" / "rclone"}


def _pause() -> Pieces:
    return {"bin/busybox": Path("/bin/busybox")}


def _debian() -> Pieces:
    return {"": CACHE / "debian"}


def _test_image(name: str, pieces: Callable[[], Pieces], *sources: Path, base: bool = True) -> Image:
    return Image(name=name, containerfile=_HERE / f"{name}.Containerfile", sources=sources, pieces=pieces, base=base)


_LOCKS: Final = ROOT / "requirements"
BASE: Final = _test_image("base", _debian, base=False)
PRODUCT: Final = Image(
    name="wml-serving",
    containerfile=ROOT / "Containerfile",
    sources=(
        *(ROOT / name for name in (".dockerignore", "LICENSE", "README.md", "pyproject.toml", "setup.cfg")),
        *(ROOT / name for name in ("orchestrator", "adapters", "protos")),
        *(_LOCKS / name for name in ("main.txt", "build.txt")),
    ),
)
TRITON: Final = _test_image("triton", _triton, _LOCKS / "triton.txt", _BACKENDS / "onnxruntime" / "model.py")
MLSERVER: Final = _test_image("mlserver", _mlserver, _LOCKS / "mlserver.txt", _BACKENDS / "mlserver")
ENVOY: Final = _test_image("envoy", _envoy, _LOCKS / "envoy.txt")
S3: Final = _test_image("s3", _s3, _LOCKS / "dev.txt")
PAUSE: Final = _test_image("pause", _pause, base=False)
ALL: Final = (PAUSE, PRODUCT, TRITON, MLSERVER, ENVOY, S3)


def build() -> None:
    """Build what is missing, and have the store import it. Idempotent."""
    with store.turn("images"):
        missing = [image for image in ALL if not store.has(image.reference())]
        if not missing:
            return
        archives: dict[str, Path] = {}
        try:
            if any(image.base for image in missing):
                _build_base()
            for image in missing:
                reference = _build(image)
                archives[reference] = _export(image.name, reference)
            with _timed("import"):
                store.add(archives)
        finally:
            for archive in archives.values():
                archive.unlink(missing_ok=True)


def load() -> None:
    """Give a running node what it lacks."""
    known = inside.run(store.ctr("images", "list", "--quiet")).stdout.split()
    missing = [image for image in ALL if image.reference() not in known]
    with store.turn("images"):
        for image in missing:
            archive = _export(image.name, image.reference())
            try:
                done = inside.run(store.ctr("images", "import", str(archive)), timeout=300)
                if done.returncode:
                    raise RuntimeError(f"{image.name}: {done.stderr}")
            finally:
                archive.unlink(missing_ok=True)


def _build_base() -> None:
    if _buildah("inspect", "--type", "image", BASE.reference(), check=False).returncode == 0:
        return
    directory = CACHE / "debian"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with _timed("debian"):
        include = f"--include={','.join(_PACKAGES)}"
        log = CACHE / "debootstrap.log"
        with log.open("wb") as output:
            command = ("unshare", "--mount", "debootstrap", "--variant=minbase", include, _SUITE, str(directory))
            if subprocess.run(command, stdout=output, stderr=output, check=False).returncode:
                raise RuntimeError(f"debootstrap failed, see {log}")
    # Of no use in an image: lists and archives of packages, documents, translations, devices; and how this machine finds
    # names.
    for waste in (
        "var/cache/apt",
        "var/lib/apt/lists",
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "var/log",
        "dev",
    ):
        for entry in (directory / waste).iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for name in ("etc/resolv.conf", "etc/hostname"):
        (directory / name).unlink(missing_ok=True)
    _build(BASE)
    shutil.rmtree(directory)


def _build(image: Image) -> str:
    """Its reference. Again when its sources were edited meanwhile: the name must not lie."""
    while True:
        reference = image.reference()
        _bud(image, reference)
        if image.reference() == reference:
            return reference


def _export(name: str, reference: str) -> Path:
    with _timed(f"{name}: export"):
        archive = CACHE / f"{name}.tar"
        archive.unlink(missing_ok=True)
        _buildah("push", "--quiet", reference, f"docker-archive:{archive}:{reference}")
    return archive


def _bud(image: Image, reference: str) -> None:
    arguments = ["--quiet", "--layers", "--file", str(image.containerfile), "--tag", reference]
    if image.base:
        arguments += ["--build-arg", f"BASE={BASE.reference()}"]
    with _timed(image.name):
        if image.pieces is None:
            with pip.secrets(CACHE / "secrets") as secrets:
                _buildah("bud", *arguments, *secrets, str(ROOT))
            return
        context = CACHE / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir(parents=True)
        try:
            _lay_out(context, image.pieces())
            _buildah("bud", *arguments, str(context))
        finally:
            shutil.rmtree(context)


def _lay_out(context: Path, pieces: Pieces) -> None:
    for target, source in pieces.items():
        if not source.exists():
            raise RuntimeError(f"{source.relative_to(ROOT)} is missing; is Python {_PYTHON} what `make` ran with?")
        place = context / target
        place.parent.mkdir(parents=True, exist_ok=True)
        # Links where that works: nothing is changed before it is copied into a layer.
        what = (str(source), str(place)) if target else (f"{source}/.", str(place))
        command = ("cp", "--recursive", "--no-dereference", "--preserve=mode,timestamps,links")
        if subprocess.run((*command, "--link", *what), capture_output=True, check=False).returncode:
            subprocess.run((*command, *what), check=True)


def _buildah(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """In a mount namespace of its own, with a storage of its own."""
    root = CACHE / "buildah"
    where = ("--root", str(root / "root"), "--runroot", str(root / "run"), "--storage-driver", "overlay")
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(CACHE)}
    command: Sequence[str] = ("unshare", "--mount", "buildah", *where, *arguments)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"buildah {' '.join(arguments)}:\n{done.stderr.decode(errors='replace')[-4000:]}")
    return done


class _timed:
    """Says what takes how long."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = time.monotonic()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        sys.stderr.write(f"images: {self._what} in {time.monotonic() - self._start:.0f} s\n")


def problem() -> str:
    """Why the images cannot be made of what is here; "" if they can."""
    version = sysconfig.get_python_version()
    return "" if version == _PYTHON else f"the environments are of Python {version}, the images' is {_PYTHON}"

"""
The main job, end to end, on this machine: `make demo`.

Trains four small models, puts them into a real S3 server, starts the product on
a directory of TrainedModel files, waits until all are READY, and asks each of
them for 200 digits that it has not seen. Ends with exit code 0 when every model
is right at least 95 times in 100, and takes everything down whatever happens.

Writes to `.demo/` of the checkout only: `models/` stays for the next run,
`run/` goes, but for logs and state after a failure.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from samples.demo.predict import Classifier
from samples.demo.process import DemoError, run
from samples.demo.stack import ADMIN_PORT, GRPC_PORT, Stack, standalone
from samples.demo.storage import BUCKET, serve

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = ROOT / "samples"
DEMO: Final = ROOT / ".demo"
MODELS: Final = ("sklearn", "xgboost", "lightgbm", "onnx")

RIGHT_ENOUGH: Final = 0.95
SHOWN: Final = 20

_BEGIN: Final = time.monotonic()


def say(subject: str, text: str) -> None:
    """One line of the story: when, about what, what."""
    print(f"{time.monotonic() - _BEGIN:5.1f} s  {subject:<16}  {text}", flush=True)


async def demo() -> None:
    """Raises DemoError."""
    models = await trained()
    manifests = {name: yaml.safe_load((SAMPLES / f"{name}.yaml").read_text()) for name in MODELS}
    names = [manifest["metadata"]["name"] for manifest in manifests.values()]
    prefix = f"s3://{BUCKET}/"
    keys = [manifest["spec"]["model"]["storageUri"].removeprefix(prefix) for manifest in manifests.values()]

    work = DEMO / "run"
    objects, kept, logs = work / "objects", work / "s3", work / "logs"
    for directory in (objects, kept, logs):
        directory.mkdir(parents=True)
    async with serve(kept, logs / "s3.log") as store:
        await store.upload(models, keys)
        say("storage", f"{len(keys)} models in bucket {BUCKET} of the S3 server {store.endpoint}")
        for name in MODELS:
            shutil.copy(SAMPLES / f"{name}.yaml", objects)
        (objects / "storage-config.yaml").write_text(store.secret())

        async with standalone(objects, work / "state", logs) as stack:
            say("wml-serving", f"starts with {', '.join(sorted(p.name for p in objects.iterdir()))}")
            if (stack.grpc_port, stack.admin_port) != (GRPC_PORT, ADMIN_PORT):
                say("wml-serving", f"its ports are taken: gRPC on {stack.grpc_port}, admin on {stack.admin_port}")
            try:
                await stack.ready(names, lambda name, standing: say(name, str(standing)))
                await show_table(stack)
                await predict(stack, names, models / "digits.npz")
                await show_generated_client(stack, names[-1], models / "digits.npz")
            except DemoError as error:
                raise DemoError(f"{error}\n\n{await stack.diagnosis()}") from error
        say("wml-serving", "stopped, and all that it started")


async def trained() -> Path:
    """The directory of trained models: the last run's, unless their training changed."""
    source = SAMPLES / "train.py"
    stamp = hashlib.sha256(source.read_bytes()).hexdigest()
    models = DEMO / "models"
    if (models / "stamp").is_file() and (models / "stamp").read_text() == stamp:
        say("models", "trained by an earlier run")
        return models
    say("models", f"trains {len(MODELS)} models on scikit-learn's digits")
    shutil.rmtree(models, ignore_errors=True)
    python = ROOT / ".runtimes/mlserver/bin/python"
    await run(str(python), str(source), str(models), log=DEMO / "train.log")
    (models / "stamp").write_text(stamp)
    return models


async def show_table(stack: Stack) -> None:
    """The table that `oc get trainedmodels` prints."""
    print(f"\n$ wml-serving get trainedmodels\n{await stack.verb('get', 'trainedmodels')}", flush=True)


async def predict(stack: Stack, names: list[str], digits: Path) -> None:
    """Ask every model for all held-out digits, both ways of naming it. Raises DemoError if one is wrong too often."""
    with np.load(digits) as held_out:
        images, labels = held_out["images"], held_out["labels"]
    address = f"localhost:{stack.grpc_port}"
    say("tritonclient", f"sends {len(images)} digits to each model at {address}, twice")
    poor = []
    for name in names:
        one_by_one, at_once = await asyncio.to_thread(_ask, address, name, images)
        named, unnamed = share_right(one_by_one, labels), share_right(at_once, labels)
        say(name, f"predicted  {words(one_by_one)}")
        say(name, f"truth      {words(labels)}")
        say(name, f"{named:.1%} of {len(labels)} right, a request each, named in metadata mm-vmodel-id")
        say(name, f"{unnamed:.1%} of {len(labels)} right, in one request, named in the message alone")
        if min(named, unnamed) < RIGHT_ENOUGH:
            poor.append(name)
    if poor:
        raise DemoError(f"right less than {RIGHT_ENOUGH:.0%} of the time: {', '.join(poor)}")


async def show_generated_client(stack: Stack, name: str, digits: Path) -> None:
    """The same by a client that was made from the protocol alone, in a process of its own: see there."""
    arguments = (name, "--address", f"localhost:{stack.grpc_port}", "--digits", str(digits))
    answer = await run(sys.executable, str(SAMPLES / "client.py"), *arguments, log=stack.logs / "client.log")
    print(f"\n$ samples/client.py {name}\n{answer}", flush=True)


def _ask(address: str, name: str, images: Any) -> tuple[Any, Any]:
    with closing(Classifier(address, name)) as classifier:
        return classifier.one_by_one(images), classifier.at_once(images)


def words(digits: Any) -> str:
    """The first of them, to be read beside others."""
    return " ".join(str(int(digit)) for digit in digits[:SHOWN])


def share_right(predicted: Any, labels: Any) -> float:
    """0 when there is not one prediction a label."""
    return float(np.mean(predicted == labels)) if predicted.shape == labels.shape else 0.0


@contextmanager
def private_directory() -> Iterator[None]:
    """`.demo/` for this process alone; what a run leaves in it is gone afterwards, but for logs after a failure."""
    DEMO.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(DEMO, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo runs in {DEMO}") from None
        work = DEMO / "run"
        shutil.rmtree(work, ignore_errors=True)
        try:
            yield
        except BaseException:
            # Not the Secret, nor the store that it opens.
            for name in ("objects", "s3"):
                shutil.rmtree(work / name, ignore_errors=True)
            raise
        shutil.rmtree(work)
    finally:
        os.close(lock)


async def _until_signal() -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await demo()


def main() -> int:
    """Exit code 0 when all models predict well; 1 with the reason on standard error; 130 when interrupted."""
    # Everything here is on this machine, whatever proxies the environment names.
    for variable in ("no_proxy", "NO_PROXY"):
        os.environ[variable] = ",".join(filter(None, [os.environ.get(variable), "localhost", "127.0.0.1"]))
    try:
        with private_directory():
            asyncio.run(_until_signal())
    except DemoError as error:
        print(f"\ndemo failed: {error}\n\nlogs: {DEMO / 'run'}", file=sys.stderr)
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("\ninterrupted", file=sys.stderr)
        return 130
    say("demo", "done: all models are right at least 95 times in 100")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""
What READY says while something happens: the admin API, asked again and again.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final, Self

from tests.standalone.verdicts import Said, Sample, said_instead

_EVERY_S: Final = 0.05
#: A controller that is frozen says nothing.
_PATIENCE_S: Final = 1.0


class Readiness:
    """Samples READY of all models every 50 ms in a thread until its context ends; a controller that is away is no sample."""

    def __init__(self, admin: str) -> None:
        self.samples: list[Sample] = []
        self._url = f"{admin}/v1/trainedmodels"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self, *models: str, since: float | None = None) -> None:
        """
        Raises AssertionError if anything but True was said of these models, with all of it and when.

        Seconds count from `since` (monotonic), say a kill; else from the first sample.
        """
        assert self.samples, "nobody heard what READY was"
        said = said_instead(self.samples, models, since=since)
        assert not said, "READY was not True:\n" + "\n".join(said)

    def denied(self, model: str, *words: str, since: float) -> bool:
        """Whether anything but True was said of the model after that moment (monotonic), once with all these words."""
        said = (sample.of(model) for sample in self.samples if sample.asked > since)
        return any(not each.ready and all(word in each.words for word in words) for each in said)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            asked = time.monotonic()
            try:
                with urllib.request.urlopen(self._url, timeout=_PATIENCE_S) as response:
                    items = json.load(response)["items"]
            except urllib.error.HTTPError as error:
                error.close()
                continue
            except (OSError, ValueError, HTTPException):
                continue
            said = {item["metadata"]["name"]: _said_ready(item) for item in items}
            self.samples.append(Sample(asked, time.monotonic(), said))


def _said_ready(item: Mapping[str, Any]) -> Said:
    """The condition Ready of a listed model."""
    conditions = (item.get("status") or {}).get("conditions") or []
    ready: Mapping[str, Any] = next((c for c in conditions if c["type"] == "Ready"), {})
    return Said(ready.get("status") == "True", f"{ready.get('status')} {ready.get('reason')}: {ready.get('message')}")

"""
What READY says while something happens: the admin API, asked again and again.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from typing import Final, Self

from tests.standalone.verdicts import Sample

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

    def said_false(self, *models: str) -> list[str]:
        """Those of which READY was ever seen False."""
        return [model for model in models if any(not sample.ready.get(model, False) for sample in self.samples)]

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            asked = time.monotonic()
            try:
                with urllib.request.urlopen(self._url, timeout=_PATIENCE_S) as response:
                    items = json.load(response)["items"]
            except urllib.error.HTTPError as error:
                error.close()
                continue
            except (OSError, ValueError):
                continue
            ready = {
                item["metadata"]["name"]: any(
                    c["type"] == "Ready" and c["status"] == "True"
                    for c in (item.get("status") or {}).get("conditions") or []
                )
                for item in items
            }
            self.samples.append(Sample(asked, time.monotonic(), ready))

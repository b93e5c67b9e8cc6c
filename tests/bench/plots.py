"""
The results as pictures. Runs in the Python of `.runtimes/bench`, which has matplotlib and nothing of ours.

The same results make the same files, letter by letter.

usage: plots.py RESULTS.json DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

COLOURS = {"direct": "#9aa5b1", "plain Envoy": "#8fbc8f", "mesh, metadata": "#1f6feb", "mesh, message": "#79b8ff"}
NAMES = {"instant": "instant server", "mlserver": "MLServer", "triton": "Triton"}


def warm(results: dict[str, Any]) -> Any:
    """Requests a second at 16 callers: a panel a server, since they differ by a factor of thirty."""
    rows = [row for row in results["warm"] if row["callers"] == 16]
    servers = list(dict.fromkeys(row["server"] for row in rows))
    figure, panels = plt.subplots(1, len(servers), figsize=(2.6 * len(servers) + 1, 3.2), squeeze=False)
    for panel, server in zip(panels[0], servers, strict=True):
        for place, row in enumerate(r for r in rows if r["server"] == server):
            rate = median(row["rate"])
            error = [[rate - min(row["rate"])], [max(row["rate"]) - rate]]
            panel.bar(place, rate, color=COLOURS[row["path"]], yerr=error, capsize=3, label=row["path"])
        panel.set_title(NAMES[server], fontsize=10)
        panel.set_xticks([])
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panels[0][0].set_ylabel("requests/s, 16 callers")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False, fontsize=9, markerscale=3)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    return figure


def cold(results: dict[str, Any]) -> Any:
    """First requests in their order: whether they take longer as models pile up, and what of it is the server's."""
    rows = results["first"]["cold"]
    figure, panels = plt.subplots(1, len(rows), figsize=(4 * len(rows) + 1, 3.2), squeeze=False, sharey=True)
    for panel, row in zip(panels[0], rows, strict=True):
        order = range(1, len(row["total"]) + 1)
        panel.plot(order, row["total"], ".", ms=3, color="#1f6feb", label="whole request")
        panel.plot(order, row["load"], lw=0.8, color="#d1603d", label="server's load")
        panel.plot(order, row["download"], lw=0.8, color="#9aa5b1", label="download")
        panel.set_title(NAMES[row["server"]], fontsize=10)
        panel.set_xlabel("models in memory")
    # A few outliers would flatten all else.
    panels[0][0].set_ylim(0, 1.5 * max(sorted(row["total"])[int(0.95 * len(row["total"]))] for row in rows))
    panels[0][0].set_ylabel("first request, ms")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=9, markerscale=3)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    return figure


def main() -> None:
    """Draw what the results have."""
    results, directory = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    mpl.use("svg")
    # Text stays text; ids come from what they name and not from chance.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "wml-serving", "axes.spines.top": False}
    mpl.rcParams["axes.spines.right"] = False
    for name, draw, there in (("warm", warm, results["warm"]), ("cold", cold, results["first"])):
        if there:
            draw(results).savefig(directory / f"benchmarks-{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()

"""Grafana dashboards without a Grafana: their expressions for Prometheus, and a picture of their panels."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.prometheus import Prometheus

Panel = Mapping[str, Any]

COLUMNS = 24  # of Grafana's grid
CELL = 0.55, 0.32  # width and height in inches
# What Grafana writes in the place of its variables: a time in brackets, and otherwise a pattern inside of quotes, where
# `.*` is "All".
TIME = re.compile(r"\[\$\{?(\w+)\}?")
VARIABLE = re.compile(r"\$(?:\w+|\{\w+(?::\w+)?\})|\[\[\w+\]\]")
CHOICES = re.compile(r"label_values\((.+),\s*\w+\s*\)|query_result\((.+)\)")


def panels(dashboard: Mapping[str, Any]) -> Iterator[Panel]:
    """Every panel with data, also those inside a row."""
    for panel in dashboard["panels"]:
        yield from panels(panel) if panel.get("panels") else ()
        if panel["type"] != "row":
            yield panel


def filled(expression: str, seconds: float = 300) -> str:
    """An expression without variables: a page of so many seconds, five minutes for each other time, and everything
    for each choice."""
    expression = TIME.sub(lambda found: f"[{seconds:.0f}s" if found[1] == "__range" else "[5m", expression)
    return VARIABLE.sub(".*", expression)


def expressions(dashboard: Mapping[str, Any], skip: tuple[str, ...] = ()) -> dict[str, str]:
    """Every expression of the panels and of the variables' choices, without variables, by its place.

    Args:
        dashboard: Grafana's JSON model.
        skip: beginnings of the titles of panels that are left out.
    """
    found = {
        f"{dashboard['title']}: {panel['title']} {target.get('refId', index)}": filled(target["expr"])
        for panel in panels(dashboard)
        if not panel["title"].startswith(skip)
        for index, target in enumerate(panel["targets"])
    }
    for variable in dashboard.get("templating", {}).get("list", []):
        query = variable.get("query")
        text = query.get("query") if isinstance(query, Mapping) else query
        if choices := CHOICES.fullmatch(str(text).strip()):
            found[f"{dashboard['title']}: ${variable['name']}"] = filled(choices[1] or choices[2])
    return found


def draw(dashboard: Mapping[str, Any], prometheus: Prometheus, target: Path, seconds: float = 600) -> None:
    """Draws the panels of a dashboard, at their places, with the data of the last `seconds`, as a PNG file."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = list(panels(dashboard))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown) + 1  # one for the heading
    figure = pyplot.figure(figsize=(COLUMNS * CELL[0], rows * CELL[1]))
    for panel in shown:
        x, y, width, height = (panel["gridPos"][key] for key in "xywh")
        bottom = rows - 1 - y - height
        # Inside of its cells a panel leaves room for its title and for the numbers at its axes.
        axes = figure.add_axes(
            ((x + 1) / COLUMNS, (bottom + 0.8) / rows, (width - 1.3) / COLUMNS, (height - 1.8) / rows)
        )
        axes.set_title(panel["title"], fontsize=8, loc="left")
        axes.tick_params(labelsize=6)
        if panel["type"] == "stat":
            _stat(axes, panel, prometheus, seconds)
        else:
            _series(axes, panel, prometheus, seconds)
    for row in dashboard["panels"]:
        if row["type"] == "row":
            figure.text(0.5 / COLUMNS, 1 - (row["gridPos"]["y"] + 1.7) / rows, row["title"], fontsize=9, weight="bold")
    heading = f"{dashboard['title']}, the last {seconds / 60:.0f} minutes"
    figure.text(0.5 / COLUMNS, 1 - 0.7 / rows, heading, fontsize=11, weight="bold")
    figure.savefig(target)
    pyplot.close(figure)


def _stat(axes: Any, panel: Panel, prometheus: Prometheus, seconds: float) -> None:
    """The newest value of each series, as text."""
    found = [
        f"{_legend(target.get('legendFormat', ''), series['metric'])} {_shown(float(series['value'][1]))}".strip()
        for target in panel["targets"]
        for series in prometheus.query(filled(target["expr"], seconds))
    ]
    axes.set_axis_off()
    _text(axes, "\n".join(found) or "no data", size=14 if len(found) == 1 else 9)


def _series(axes: Any, panel: Panel, prometheus: Prometheus, seconds: float) -> None:
    """Each series as a line over the minutes before now."""
    now = time.time()
    for target in panel["targets"]:
        for series in prometheus.query_range(filled(target["expr"], seconds), seconds, seconds / 120):
            minutes = [(moment - now) / 60 for moment, _ in series["values"]]
            values = [float(value) for _, value in series["values"]]  # NaN is a gap in the line
            axes.plot(minutes, values, label=_legend(target.get("legendFormat", ""), series["metric"]))
    if axes.lines:
        axes.legend(fontsize=5, loc="upper left", frameon=False)
    else:
        _text(axes, "no data", size=8)
    axes.set_xlim(-seconds / 60, 0)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)  # room for the names
    axes.xaxis.set_major_formatter("{x:g} min")
    axes.yaxis.set_major_formatter(lambda value, _: _shown(value))
    axes.spines[["top", "right"]].set_visible(False)


def _text(axes: Any, text: str, size: float) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", size=size)


def _shown(value: float) -> str:
    """A number with three digits and the letter of its thousands, such as 2.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _legend(template: str, labels: Mapping[str, str]) -> str:
    """The name of a series as Grafana writes it: `{{label}}` is the label's value."""
    named = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template)
    return named.strip() or ", ".join(value for key, value in labels.items() if key != "__name__")

"""promtool of Prometheus, which checks rules and evaluates them; a test without it is left out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[1] / "unit" / "components" / "data"
# A selector always has braces in our expressions, also where they are empty.
METRIC = re.compile(r"([a-zA-Z_:][\w:]*)\{")


def promtool(*arguments: str, cwd: Path) -> None:
    """Runs promtool; fails with its output."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not on PATH (Debian: apt-get install --no-install-recommends prometheus)")
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_rules(groups: Any, directory: Path) -> None:
    """Checks groups of rules: their expressions, the templates of their texts, their form."""
    (directory / "rules.yml").write_text(json.dumps({"groups": groups}))  # JSON is YAML
    promtool("check", "rules", "rules.yml", cwd=directory)


def check_samples(
    groups: Any, series: Mapping[str, str], expected: Mapping[tuple[str, str], Mapping[str, float]], directory: Path
) -> None:
    """Evaluates rules over series of samples, one a minute, and compares expressions at some times.

    Args:
        groups: groups of rules.
        series: series with labels, to samples in promtool's notation: `1+0x10 stale` is eleven times 1, then nothing.
        expected: expression and time, such as 30m, to the result: series with labels to value.
        directory: where the files are written.
    """
    (directory / "rules.yml").write_text(json.dumps({"groups": groups}))
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expr,
                "eval_time": time,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for (expr, time), samples in expected.items()
        ],
    }
    (directory / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [test]}))
    promtool("test", "rules", "test.yml", cwd=directory)


def unknown_metrics(expressions: Iterable[str]) -> set[str]:
    """Returns the metrics of PromQL expressions that nobody exports, as far as was seen (data/metrics.txt)."""
    lines = (DATA / "metrics.txt").read_text().splitlines()
    return {name for expr in expressions for name in METRIC.findall(expr)} - {line for line in lines if line[:1] != "#"}

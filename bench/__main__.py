"""Runs benchmarks: `python -m bench [NAME]... [report]`. The names are those of `benchmarks`.

Without a name it runs all of them, in this order.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from bench.measure import keep


def benchmarks() -> dict[str, Callable[[], dict[str, Any]]]:
    from bench import faults, growth, jobs, keeper, keeper_loop, keeper_ray, monitoring, page, stack

    return {
        "stack": stack.measure,
        "growth": growth.measure,
        "monitoring": monitoring.measure,
        "jobs": jobs.measure,
        "keeper": keeper.measure,
        "keeper_loop": keeper_loop.measure,
        "keeper_ray": keeper_ray.measure,
        "page": page.measure,
        "faults": faults.measure,
    }


def main() -> None:
    from bench.report import write

    known = benchmarks()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*known, "report"], help="which [default: all]")
    chosen = parser.parse_args().names or [*known, "report"]
    for name in chosen:
        if name == "report":
            print(write())
        else:
            print(keep(name, known[name]()))


if __name__ == "__main__":
    main()

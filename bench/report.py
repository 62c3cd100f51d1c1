"""docs/benchmarks.md and its plot, from the results kept in bench/results/."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measure import RESULTS

DOCS = Path(__file__).resolve().parent.parent / "docs"

HEADING = """# How fast is it?

`make bench` measures this project and its competitor in turn, on the same machine in the same run. The figures are
medians unless noted; the raw ones are in bench/results/. Times depend on the machine: read them as ratios.
The tables show losses too. "Goal" is the value that was to be reached.
"""


def write() -> Path:
    """Writes docs/benchmarks.md with what was measured; a benchmark without results is named as not run."""
    sections = [HEADING]
    for name, section in SECTIONS.items():
        file = RESULTS / f"{name}.json"
        if not file.is_file():
            sections.append(f"## {name}\n\nNot measured yet.\n")
            continue
        content = json.loads(file.read_text())
        machine = content["machine"]
        sections.append(section(content["results"]))
        sections.append(f"{content['measured']}, {machine['cpus']} CPUs, Python {machine['python']}.\n")
        sections += PLOTS[name](content["results"]) if name in PLOTS else []
    target = DOCS / "benchmarks.md"
    target.write_text("\n".join(sections))
    return target


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _wall(entry: dict[str, Any]) -> float:
    return float(entry["wall"]["median"])


def _against(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}"


# What is measured beside kubectl: ours, by hand, the goal of the ratio.
STACK_PAIRS = (
    ("no-op preview", "kubectl kustomize and diff", "0.70"),
    ("no-op up", "kubectl kustomize and diff", "0.67"),
    ("up", "kubectl apply", "0.9"),
    ("destroy", "kubectl delete", "0.5"),
)


def _without_changes(name: str, form: str = "{}") -> str:
    """Returns the words for an operation, `no-op up` as `up without changes`. `form`: how the operation is written."""
    return form.format(name.removeprefix("no-op ")) + (" without changes" if "no-op" in name else "")


def _stack(results: dict[str, Any]) -> str:
    rows = [
        [
            _without_changes(ours, "`pulumi {}`"),
            f"{_wall(results[ours]):.1f} s",
            theirs,
            f"{_wall(results[theirs]):.1f} s",
            _against(_wall(results[ours]), _wall(results[theirs])),
            target,
        ]
        for ours, theirs, target in STACK_PAIRS
    ]
    once = f"`up` and `destroy` were measured {results['up']['runs']} times each, in turn, on a warm node.\n"
    size = once + f"State: {results['state bytes'] / 1000:.0f} kB (goal: under 500 kB).\n"
    title = (
        "## How long does a deployment take, compared with kubectl?\n\n"
        "The `dev` stack: CRDs, operator, namespaces, one RayCluster.\n"
    )
    lookup = _wall(results["look-up through the Pulumi CLI"])
    size += f"A target from the Pulumi CLI, not from an outputs file, costs `rayjobs` {lookup:.1f} s more.\n"
    return "\n".join([title, table(["what", "ours", "by hand", "", "ratio", "goal"], rows), size])


def _growth(results: dict[str, Any]) -> str:
    measured = ("up", "no-op preview", "destroy")
    rows = [
        [size, *(f"{entry[key]:.1f} s" for key in measured), f"{entry['state bytes'] / 1000:,.0f} kB"]
        for size, entry in results.items()
    ]
    sizes = sorted(results, key=int)
    for fewer, more in itertools.pairwise(sizes):
        further = int(more) - int(fewer)
        cost = {key: (results[more][key] - results[fewer][key]) / further for key in (*measured, "state bytes")}
        seconds = [f"{cost[key]:.2f} s" for key in measured]
        rows.append([f"one more, {fewer} to {more}", *seconds, f"{cost['state bytes'] / 1000:.1f} kB"])
    title = (
        "## What does one more RayCluster cost?\n\n"
        "Suspended RayClusters in one stack. Goal: `up` of 100 in under 60 s.\n"
    )
    return "\n".join([title, table(["clusters", "up", "no-op preview", "destroy", "state"], rows)])


def _monitoring(results: dict[str, Any]) -> str:
    with_it, without = _wall(results["with"]), _wall(results["without"])
    sizes = results["state bytes"]
    growth = (sizes["with"] - sizes["without"]) / 1000
    rows = [
        ["`pulumi preview` without changes", f"{without:.2f} s", f"{with_it:.2f} s", _against(with_it, without), "1.1"],
        [
            "state",
            *(f"{sizes[name] / 1000:.0f} kB" for name in ("without", "with")),
            f"{growth:.0f} kB more",
            "30 kB more",
        ],
    ]
    title = (
        "## What does monitoring cost?\n\n"
        "The `dev` stack with PodMonitors, alerts and nine dashboards; its RayCluster is suspended.\n"
    )
    return "\n".join([title, table(["what", "without", "with", "ratio", "goal"], rows)])


def _jobs(results: dict[str, Any]) -> str:
    cold, again, follow = results["cold start"], results["unchanged 80 MB"], results["follow 100,000 lines"]
    rows = []

    def pair(what: str, group: dict[str, Any], ours: str, stock: str, target: str) -> None:
        mine, other = _wall(group[ours]), _wall(group[stock])
        rows.append([what, f"{mine:.2f} s", f"{other:.2f} s", f"{other / mine:.1f}", target])

    pair("`status ID` from a cold start", cold, "jobs status", "ray job status", "3")
    pair("`list` from a cold start", cold, "jobs list", "ray job list", "3")
    if "tunnel" in results:
        pair("`submit --no-wait`, ours through its own tunnel", results["tunnel"], "jobs", "ray job", "1")
    pair("second submit of an unchanged 80 MB directory", again, "jobs submit", "ray job submit", "3")
    pair("following 100,000 lines", follow, "jobs logs --follow", "ray job logs --follow", "1")
    batch = results["100 submissions"]
    mine, other = batch["jobs"]["cpu per submission"], batch["ray job submit"]["cpu per submission"]
    rows.append(["CPU for each of 100 submissions", f"{mine:.3f} s", f"{other:.3f} s", f"{other / mine:.1f}", "10"])
    many = results["1,000 jobs"]
    ratio = f"{many['poll'] / many['parse']:.1f} times parsing"
    rows.append(["one poll of 1,000 jobs, CPU", f"{many['poll'] * 1000:.1f} ms", ratio, "", "2 times"])
    loop = batch["ray job submit"]
    memory = (
        "Poll of 1,000 jobs: the client's CPU time for the request, parsing 700 kB and 1,000 typed records; "
        f"{many['wall'] * 1000:.0f} ms with the canned server's time. "
        f"Lists for {many['polls']} polls: {many['lists']}. "
        f"Peak memory following 100,000 lines: {follow['jobs logs --follow']['peak_mib']:.0f} MiB, stock "
        f"{follow['ray job logs --follow']['peak_mib']:.0f} MiB. "
        f"Wall clock of 100 submissions, 8 at a time: "
        f"{batch['jobs']['wall']:.0f} s; a loop of {loop['submissions']} stock submissions: {loop['wall']:.0f} s.\n"
    )
    title = "## How fast is `rayjobs`, compared with `ray job`?\n"
    return "\n".join([title, table(["what", "ours", "stock", "times faster", "goal"], rows), memory])


def _keeper_loop(results: dict[str, Any]) -> str:
    logging = results["logging"]
    resting = {name: entry for name, entry in results.items() if name != "logging"}
    rows = [
        ["logs that differ from the jobs' own", f"{logging['logs that differ']} of 200", "0"],
        ["largest memory", f"{logging['peak MiB']:.0f} MiB", "150 MiB"],
        ["CPU while they log", f"{logging['cores while they logged']:.2f} cores", ""],
        ["lists of jobs asked for", f"{logging['requests a second while they logged']['/api/jobs/']} a second", ""],
        *(
            [
                f"CPU {'' if name.startswith('at rest') else 'with '}{name.replace('100000', '100,000')}",
                f"{entry['percent of a core']:.2f} % of a core",
                "1 %" if name.startswith("at rest") else "",
            ]
            for name, entry in resting.items()
        ),
    ]
    title = (
        "## What does a keeper take?\n\n"
        f"`rayjobs keep`, while 200 jobs log 20 MB/s together ({logging['bytes'] / 1e6:.0f} MB), and while nothing\n"
        "happens and Ray lists 1,000 ended jobs. The server is a stand-in of Ray's endpoints: a real Ray would take\n"
        "the cores that are measured.\n"
    )
    return "\n".join([title, table(["what", "measured", "goal"], rows)])


def _page(results: dict[str, Any]) -> str:
    rows = [
        [name, f"{entry['median']:.1f} ms", f"{entry['max']:.1f} ms", "" if name.startswith("log") else "100 ms"]
        for name, entry in results["requests, ms"].items()
    ]
    search = results["search of the whole log"]
    rest = (
        f"A search through the whole log of 1 GiB: {search['seconds']:.1f} s in {search['requests']} pages. "
        f"Its download: {results['download of the log, MB/s']:.0f} MB/s.\n"
        f"Largest memory of the server: {results['peak MiB']:.0f} MiB (goal: 150 MiB).\n"
    )
    title = "## How fast is the page of 100,000 kept jobs?\n\nWhole answers over HTTP, as a browser gets them.\n"
    return "\n".join([title, table(["answer", "median", "slowest", "goal"], rows), rest])


def _keeper(results: dict[str, Any]) -> str:
    jobs, append = results["jobs"], results["append"]
    few, many = jobs["poll, ms of CPU, with no kept job"], jobs["poll, ms of CPU, with 100,000 kept jobs"]
    rows = [
        *([f"a poll of 1,000 jobs, {name}, CPU", f"{few[name]:.2f} ms", f"{many[name]:.2f} ms"] for name in few),
        ["recording one more job, CPU", "", f"{jobs['recording a job, ms of CPU']:.2f} ms"],
        ["opening the folder", "", f"{jobs['opening the folder, ms']:.0f} ms"],
        ["the database, for each job", "", f"{jobs['database, bytes per job'] / 1000:.1f} kB"],
    ]
    rest = (
        f"Writing logs of {append['bytes'] / 1e6:.0f} MB at {append['MB/s']:.0f} MB/s takes {append['cores']:.2f} "
        f"cores and {append['bytes on the disk'] / 1e6:.0f} MB of the disk; {append['bytes that were not kept']} bytes "
        "are not kept.\n"
    )
    title = "## Does a keeper's poll cost more, the more it keeps?\n"
    return "\n".join([title, table(["what", "nothing kept", "100,000 jobs kept"], rows), rest])


def _keeper_ray(results: dict[str, Any]) -> str:
    asked, jobs, lines = results["requests"], results["jobs"], results["lines"]

    def pair(what: str, ours: str, theirs: str) -> list[str]:
        mine, other = (asked[name]["median ms"] for name in (ours, theirs))
        return [what, f"{mine:.1f} ms", f"{other:.1f} ms", _against(mine, other)]

    mine, other = _wall(results["rayjobs history --team"]), _wall(results["ray job list"])
    rows = [
        pair(f"all {jobs} jobs as JSON", "keeper, jobs as JSON", "Ray, jobs as JSON"),
        pair("the page of jobs; Ray's own needs that JSON", "keeper, page of jobs", "Ray, jobs as JSON"),
        pair(f"a log of {lines:,} lines", "keeper, log", "Ray, log"),
        ["`rayjobs history --team` and `ray job list`", f"{mine:.2f} s", f"{other:.2f} s", _against(mine, other)],
    ]
    title = f"## Is a keeper faster than the Ray that it keeps?\n\n{jobs} ended jobs of a local Ray, in turn.\n"
    return "\n".join([title, table(["what", "keeper", "Ray", "ratio"], rows)])


def _faults(results: dict[str, Any]) -> str:
    rows = [
        [
            label.replace(", jobs ", ", rayjobs "),
            str(entry["exit code"]),
            f"{entry['found']:,} of {entry['wanted']:,}",
            f"{entry['repeated']:,}",
            str(entry["cuts"]),
            f"{entry['seconds']:.0f} s",
        ]
        for label, entry in results.items()
    ]
    title = (
        "## Does a log arrive while the connection is reset every 2 seconds?\n\n"
        "Small: 2,000 lines over 20 s. Large: 1,000,000 lines, 100 MB at 20 MB/s. Both jobs succeed.\n"
        "One proxy is in front of the dashboard, one in front of the agent from which `rayjobs` reads logs.\n"
    )
    return "\n".join([title, table(["case", "exit code", "lines shown", "repeated", "cuts", "time"], rows)])


def _stack_plot(results: dict[str, Any]) -> list[str]:
    bars = [(_without_changes(ours), results[ours], results[theirs]) for ours, theirs, _goal in STACK_PAIRS]
    return _plot("benchmarks-kubectl.svg", bars, "this project", "kubectl by hand")


def _jobs_plot(results: dict[str, Any]) -> list[str]:
    cold, again, follow = results["cold start"], results["unchanged 80 MB"], results["follow 100,000 lines"]
    bars = [
        ("status", cold["jobs status"], cold["ray job status"]),
        ("list", cold["jobs list"], cold["ray job list"]),
        ("submit, 80 MB unchanged", again["jobs submit"], again["ray job submit"]),
        ("follow 100,000 lines", follow["jobs logs --follow"], follow["ray job logs --follow"]),
    ]
    if "tunnel" in results:
        bars.insert(2, ("submit --no-wait", results["tunnel"]["jobs"], results["tunnel"]["ray job"]))
    return _plot("benchmarks.svg", bars, "`rayjobs`", "`ray job`")


SECTIONS = {
    "stack": _stack,
    "growth": _growth,
    "monitoring": _monitoring,
    "jobs": _jobs,
    "keeper_loop": _keeper_loop,
    "keeper": _keeper,
    "page": _page,
    "keeper_ray": _keeper_ray,
    "faults": _faults,
}
PLOTS = {"stack": _stack_plot, "jobs": _jobs_plot}


def _plot(
    name: str, bars: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]], ours: str, theirs: str
) -> list[str]:
    """Ours beside the competitor's, where both do the same thing; written only where matplotlib is installed."""
    picture = f"![{ours} and {theirs}]({name})\n".replace("`", "")
    try:
        import matplotlib
    except ImportError:
        return [picture] if (DOCS / name).is_file() else []
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.7 * len(bars) + 1.2))
    for position, (_label, *contestants) in enumerate(bars):
        for offset, contestant, colour in zip((-0.19, 0.19), contestants, ("#2a6fb0", "#c9c9c9"), strict=True):
            value = float(contestant["wall"]["median"])
            axes.barh(position + offset, value, height=0.36, color=colour)
            axes.text(value, position + offset, f" {value:.2f} s", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [label for label, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlabel(f"seconds, median (lower is better): blue {ours}, grey {theirs}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(DOCS / name, metadata={"Date": None})
    pyplot.close(figure)
    return [picture]

"""What a shell offers for a word: ids of the ledger, clusters of the outputs file, stacks, contexts, files.

Only files of this machine are read, and an error offers nothing: a shell must not wait for a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from ..errors import JobsError

Items = list[CompletionItem[str]]

MOST_IDS = 100
OF_SERVER = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED")
OF_LEDGER = (*OF_SERVER, "LOST", "REFUSED", "DELETED", "SUBMITTING")


def option_items(name: str, metavar: str, context: click.Context, incomplete: str) -> Items | None:
    """Returns the values for an option; None if only click knows them."""
    if metavar == "FILE":
        return [CompletionItem(incomplete, type="file")]
    if name == "working_dir":
        return [CompletionItem(incomplete, type="dir")]
    names = _NAMES.get(name)
    if names is None:
        return None
    return [CompletionItem(each) for each in names(context) if each.startswith(incomplete)]


def id_items(context: click.Context, incomplete: str) -> Items:
    """Returns the submission ids of the ledger, newest first, with status, age and entrypoint.

    `stop` and `wait` get only those that have not ended, as far as the ledger knows; `delete` those that have.
    """
    from ..ledger.store import Ledger
    from ..spec.job_info import TERMINAL
    from ..spec.shown import cell, visible

    try:
        entries = Ledger(context.params.get("ledger")).history(limit=10 * MOST_IDS)
    except JobsError:
        return []
    given = context.params.get("submission_ids") or ()
    items: dict[str, CompletionItem[str]] = {}
    for entry in entries:
        ended = entry.status in TERMINAL
        fits = {"stop": not ended, "wait": not ended, "delete": ended}.get(context.info_name or "", True)
        submission_id = entry.submission_id
        if not submission_id.startswith(incomplete) or submission_id in given or submission_id in items:
            continue
        if not fits or visible(submission_id) != submission_id:
            continue
        text = f"{entry.status}, {_age(entry.created)}: {cell(entry.spec.get('entrypoint', ''))}"
        items[submission_id] = CompletionItem(submission_id, help=text)
    return list(items.values())[:MOST_IDS]


def _age(created: float) -> str:
    seconds = max(0.0, time.time() - created)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _clusters(context: click.Context) -> Iterable[str]:
    from ..target.known import known_contract

    contract = known_contract(context.params.get("outputs"))
    return [cluster.name for cluster in contract.clusters] if contract else []


def _stacks(_context: click.Context) -> Iterable[str]:
    from ..target.known import stack_names

    return stack_names(Path.cwd())


def _contexts(context: click.Context) -> Iterable[str]:
    from ..kubernetes.kubeconfig import read_kubeconfig

    try:
        config = read_kubeconfig(context.params.get("kubeconfig"), option="--kubeconfig")
    except JobsError:
        return []
    return config.contexts if config else []


def _batches(context: click.Context) -> Iterable[str]:
    from ..ledger.store import Ledger

    try:
        entries = Ledger(context.params.get("ledger")).history(limit=10 * MOST_IDS)
    except JobsError:
        return []
    return dict.fromkeys(entry.origin.batch for entry in entries if entry.origin.batch)


_NAMES: dict[str, Callable[[click.Context], Iterable[str]]] = {
    "cluster": _clusters,
    "stack": _stacks,
    "context": _contexts,
    "batch": _batches,
    "status": lambda _context: OF_LEDGER,
    "statuses": lambda _context: OF_SERVER,
}

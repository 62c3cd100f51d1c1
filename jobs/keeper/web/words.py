"""How a job ended and why, in plain words, from its record. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...diagnose.evidence import Evidence
from ...diagnose.finding import CAUSE, CLUE
from ...diagnose.why import explain
from ...errors import COMMAND, command_line
from ...ledger.records import DELETED, REFUSED, Entry
from ...spec.durations import show_duration
from ...spec.job_info import LOST, JobInfo
from ...spec.shown import SENTENCE_LIMIT, shown, visible
from .timeline import status_words, total_seconds

_EXIT_CODES = {
    0: "success",
    1: "the program reported an error",
    2: "wrong use of a command, or an error that the program chose",
    126: "the command cannot be executed",
    127: "the command was not found",
    130: "interrupted, as by Ctrl-C",
    134: "the program aborted",
    137: "killed (SIGKILL), often because memory ran out",
    139: "the program crashed (segmentation fault)",
    143: "ended by SIGTERM, as when a node is drained",
}
NAME_KEY = "name"
# Ray's field of a job -> the option of `submit`.
_OPTIONS = {
    "entrypoint_num_cpus": "--entrypoint-num-cpus",
    "entrypoint_num_gpus": "--entrypoint-num-gpus",
    "entrypoint_memory": "--entrypoint-memory",
}
_JSON_OPTIONS = {
    "runtime_env": "--runtime-env-json",
    "metadata": "--metadata-json",
    "entrypoint_resources": "--entrypoint-resources",
    "entrypoint_label_selector": "--entrypoint-label-selector",
}


@dataclass(frozen=True)
class Reason:
    """Why a job failed, was stopped, or waits.

    Attributes:
        text: One or two sentences, as they may be shown.
        remedy: The command or the change that helps; may be empty.
        clues: Further sentences.
        at: When this was found, in seconds since the epoch; None: it is in the record.
    """

    text: str
    remedy: str = ""
    clues: tuple[str, ...] = ()
    at: float | None = None


def exit_words(code: int) -> str:
    """Returns what an exit code of the entrypoint means, such as `the command was not found`."""
    if code < 0:
        code = 128 - code
    if code in _EXIT_CODES:
        return _EXIT_CODES[code]
    return f"ended by signal {code - 128}" if 128 < code < 193 else "an error that the program chose"


def outcome(entry: Entry, now: float) -> str:
    """Returns the state in one line, such as `Failed with exit code 3 after 2m10s`."""
    words = status_words(entry.status)
    if entry.status == "FAILED" and entry.driver_exit_code:
        words += f" with exit code {entry.driver_exit_code}"
    duration = show_duration(total_seconds(entry, now))
    if entry.status in (REFUSED, DELETED):
        return words
    if not entry.ended:
        return f"{words}, {duration} since its submission"
    return f"{words} after {duration}"


def job_name(entry: Entry) -> str:
    """Returns the name that the user gave a job in its metadata; empty if there is none."""
    return visible(str(entry.metadata.get(NAME_KEY) or ""))


def reason(entry: Entry, log_end: str = "") -> Reason | None:
    """Returns why a job ended without success, or why it waits; None if there is nothing to say.

    What `why` said when the job failed or waited counts most: it saw the cluster. Without it, the job's record and the
    end of its log are read in the same way.

    Args:
        entry: The job.
        log_end: The end of its log; empty if it is not known.
    """
    if entry.status in ("SUCCEEDED", DELETED, REFUSED):
        return Reason("The server refused it: it never ran.") if entry.status == REFUSED else None
    kept = _from_findings(_findings(entry.why), _time(entry.why))
    if kept is not None and entry.status not in ("STOPPED", LOST):
        return kept
    if entry.status == "STOPPED":
        text = "It was stopped: by the `stop` command, by a time limit, or by another client."
        return Reason(text, _again(entry), _message(entry))
    if entry.status == LOST:
        said = shown(entry.message, SENTENCE_LIMIT, lines=True) if entry.message else ""
        clues = (kept.text, *kept.clues) if kept else ()
        return Reason(said or "Ray accepted this job and no longer knows it.", _again(entry), clues)
    if entry.status != "FAILED":
        return None
    return _from_record(entry, log_end)


def resubmit_command(entry: Entry) -> str:
    """Returns the command that submits the job again: `rerun` if a ledger of ours has its spec, else the whole one."""
    if entry.source == "submitted":
        return _again(entry)
    spec = entry.spec
    words = ["submit"]
    for key, option in _OPTIONS.items():
        if spec.get(key) is not None:
            words += [option, str(spec[key])]
    for key, option in _JSON_OPTIONS.items():
        if spec.get(key):
            words += [option, json.dumps(spec[key], ensure_ascii=False)]
    return visible(f"{COMMAND} {shlex.join(words)} -- {spec.get('entrypoint', '')}", lines=True)


def _again(entry: Entry) -> str:
    return visible(command_line(f"rerun {shlex.quote(entry.submission_id)}"))


def _message(entry: Entry) -> tuple[str, ...]:
    return (shown(entry.message, SENTENCE_LIMIT, lines=True),) if entry.message else ()


def _from_record(entry: Entry, log_end: str) -> Reason:
    job = JobInfo(
        entry.submission_id,
        entry.status,
        str(entry.spec.get("entrypoint", "")),
        entry.message or "",
        entry.error_type,
        driver_exit_code=entry.driver_exit_code,
    ).shown()
    found = explain(Evidence(entry.submission_id, job=job, ray_reached=True, log_end=log_end))
    findings = [{"kind": each.kind, "text": each.text, "remedy": each.remedy} for each in found]
    if not (entry.message or log_end):
        # Without a text `why` can only repeat that it failed.
        findings = []
    known = _from_findings(findings, None)
    if known is not None:
        return known
    code = entry.driver_exit_code
    return Reason(f"Its program ended with exit code {code}: {exit_words(code)}." if code else "Ray gave no reason.")


def _findings(why: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    findings = (why or {}).get("findings")
    return [each for each in findings if isinstance(each, Mapping)] if isinstance(findings, list) else []


def _time(why: Mapping[str, Any] | None) -> float | None:
    at = (why or {}).get("at")
    return float(at) if isinstance(at, int | float) else None


def _from_findings(findings: Sequence[Mapping[str, Any]], at: float | None) -> Reason | None:
    def text_of(finding: Mapping[str, Any], key: str) -> str:
        return shown(str(finding.get(key) or ""), SENTENCE_LIMIT, lines=True)

    causes = [each for each in findings if each.get("kind") == CAUSE]
    clues = [each for each in findings if each.get("kind") == CLUE]
    first = next(iter(causes or clues), None)
    if first is None:
        return None
    others = tuple(text_of(each, "text") for each in [*causes, *clues] if each is not first)
    return Reason(text_of(first, "text"), text_of(first, "remedy"), others, at)

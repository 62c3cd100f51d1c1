"""Many jobs as one: a jobs file or a sweep becomes a list of requests with ids. Pure but for reading the file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import Refused
from ..session import Request
from ..spec.job_spec import canonical_json
from . import sweep

_OBJECT = "an object"
# Key of a job in the file -> (types, how a person calls them).
JOB_KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a string"),
    "entrypoint": ((str, list), "a string, or a list of words"),
    "working_dir": ((str,), "a string"),
    "runtime_env": ((dict,), _OBJECT),
    "metadata": ((dict,), _OBJECT),
    "entrypoint_num_cpus": ((int, float), "a number"),
    "entrypoint_num_gpus": ((int, float), "a number"),
    "entrypoint_memory": ((int,), "a number of bytes"),
    "entrypoint_resources": ((dict,), _OBJECT),
    "entrypoint_label_selector": ((dict,), _OBJECT),
}
FILE_KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a string"),
    "concurrency": ((int,), "a number"),
    "sweep": ((dict,), _OBJECT),
    "defaults": ((dict,), _OBJECT),
    "jobs": ((list,), "a list"),
}
_NOT_FOR_IDS = re.compile(r"[^A-Za-z0-9._-]+")
_ID_LENGTH = 100


@dataclass(frozen=True)
class BatchJob:
    """One job of a batch. `label` tells it from the others; the request has no id before `named`."""

    label: str
    params: Mapping[str, str]
    request: Request


@dataclass(frozen=True)
class Batch:
    """`name` is None where none was given: `named` then derives one from the content."""

    name: str | None
    jobs: tuple[BatchJob, ...]
    concurrency: int | None = None


def from_sweep(words: Sequence[str], request: Request, given: Mapping[str, Sequence[str]]) -> Batch:
    """One entrypoint, given as words or as one shell line, for every combination of the sweep."""
    _check_used({"entrypoint": list(words), "runtime_env": dict(request.runtime_env)}, given)
    jobs = []
    for params in sweep.combinations(given):
        filled = sweep.fill({"runtime_env": request.runtime_env, "metadata": request.metadata}, params)
        one = replace(
            request,
            entrypoint=_line(sweep.fill(list(words), params)),
            runtime_env=filled["runtime_env"],
            metadata={**params, **filled["metadata"]},
        )
        jobs.append(BatchJob(_label(params), params, one))
    return Batch(None, tuple(jobs))


def from_file(path: Path, given: Mapping[str, Sequence[str]] | None = None) -> Batch:
    """The batch in a jobs file; `given` are sweeps of the command line, which replace those of the file by name.

    A working_dir in the file is relative to the file. Raises Refused with everything that is wrong.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"There is no jobs file {path}.", "docs/jobs-many.md shows one.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The jobs file {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise Refused(f"The jobs file {path} is not YAML{f' at line {mark.line + 1}' if mark else ''}.") from None
    return parse(content, path.parent, str(path), path.stem, given or {})


def parse(content: Any, base: Path, source: str, stem: str, given: Mapping[str, Sequence[str]]) -> Batch:
    """The batch in a jobs file's content. `base`: what its relative paths are relative to."""
    wrong: list[str] = []
    if not isinstance(content, dict):
        raise Refused(f"{source} must hold an object with the key `jobs`.", "docs/jobs-many.md shows one.")
    _check(content, FILE_KEYS, "", wrong)
    defaults = content.get("defaults") or {}
    entries = content.get("jobs") or []
    if isinstance(defaults, dict):
        _check(defaults, {key: JOB_KEYS[key] for key in JOB_KEYS if key != "name"}, "defaults.", wrong)
    if not isinstance(entries, list) or not entries:
        wrong.append("jobs: must be a list of at least one job")
        entries = []
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            wrong.append(f"jobs[{i}]: must be an object, it is {entry!r}")
            continue
        _check(entry, JOB_KEYS, f"jobs[{i}].", wrong)
        if not ({**defaults, **entry}).get("entrypoint"):
            wrong.append(f"jobs[{i}].entrypoint: is missing")
    concurrency = content.get("concurrency")
    if isinstance(concurrency, int) and concurrency < 1:
        wrong.append(f"concurrency: must be at least 1, it is {concurrency}")
    if wrong:
        raise Refused("\n  ".join([f"{source} cannot be used:", *wrong]), "docs/jobs-many.md has the schema.")
    own = {name: _values(name, values, source) for name, values in (content.get("sweep") or {}).items()}
    whole = {**own, **given}
    _check_used(content, whole)
    jobs = []
    for i, entry in enumerate(entries):
        merged = _merge(defaults, entry)
        # Only what a job uses multiplies it.
        used = {name: values for name, values in whole.items() if sweep.uses(merged, name)}
        for params in sweep.combinations(used):
            jobs.append(_job(sweep.fill(merged, params), params, i, base, len(entries) > 1))
    return Batch(content.get("name") or _NOT_FOR_IDS.sub("_", stem), tuple(jobs), concurrency)


def _check(
    found: dict[Any, Any], allowed: Mapping[str, tuple[tuple[type, ...], str]], at: str, wrong: list[str]
) -> None:
    for key, value in found.items():
        if key not in allowed:
            wrong.append(f"{at}{key}: is not known; allowed: {', '.join(allowed)}")
        elif value is not None and (not isinstance(value, allowed[key][0]) or isinstance(value, bool)):
            wrong.append(f"{at}{key}: must be {allowed[key][1]}, it is {value!r}")
    for key in ("metadata", "entrypoint_label_selector"):
        if isinstance(found.get(key), dict) and key in allowed:
            wrong += [
                f"{at}{key}.{name}: must be a string (put it into quotes), it is {value!r}"
                for name, value in found[key].items()
                if not isinstance(value, str)
            ]


def _values(name: Any, values: Any, source: str) -> list[str]:
    if not isinstance(values, list):
        values = [values]
    if any(isinstance(value, dict | list) or value is None for value in values):
        raise Refused(f"{source}: sweep.{name} must be a list of values.", "Write it like `lr: [1e-3, 1e-4]`.")
    return sweep.values_of(str(name), [str(value) for value in values])


def _check_used(where: Any, given: Mapping[str, Sequence[str]]) -> None:
    for name in given:
        if not sweep.uses(where, name):
            raise Refused(
                f"The sweep {name!r} is used nowhere: every job would run once for each of its values, all the same.",
                f"Write {{{name}}} where its value belongs.",
            )


def _merge(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **entry}
    for key in ("runtime_env", "metadata"):
        merged[key] = {**(defaults.get(key) or {}), **(entry.get(key) or {})}
    return merged


def _job(merged: dict[str, Any], params: Mapping[str, str], index: int, base: Path, several: bool) -> BatchJob:
    name = merged.pop("name", None) or (f"job{index}" if several else "")
    merged["entrypoint"] = _line(merged["entrypoint"])
    merged["metadata"] = {**params, **merged["metadata"]}
    working_dir = merged.get("working_dir") or merged["runtime_env"].pop("working_dir", None)
    if working_dir and "://" not in working_dir:
        merged["working_dir"] = str(base / working_dir)
    elif working_dir:
        merged["working_dir"] = working_dir
    shown = _label(params)
    # A name that spells out the values needs no repetition of them.
    label = "-".join(part for part in (name, shown if not all(v in name for v in params.values()) else "") if part)
    return BatchJob(
        label or name or f"job{index}", params, Request(**{k: v for k, v in merged.items() if v is not None})
    )


def _line(entrypoint: str | Sequence[str]) -> str:
    import shlex

    if isinstance(entrypoint, str):
        return entrypoint
    words = [str(word) for word in entrypoint]
    return words[0] if len(words) == 1 else shlex.join(words)


def _label(params: Mapping[str, str]) -> str:
    return "-".join(f"{name}{value}" for name, value in params.items())


def named(batch: Batch, name: str | None = None) -> Batch:
    """The batch with a name and with an id for every job: the same batch always gets the same ids.

    Without a name of its own it is called after its content, so that other content is another batch.
    """
    content = [[job.label, _content(job.request)] for job in batch.jobs]
    derived = "batch-" + hashlib.sha256(canonical_json(content).encode()).hexdigest()[:10]
    chosen = _NOT_FOR_IDS.sub("_", name or batch.name or derived).strip("._-") or derived
    ids = [f"{chosen}-{_NOT_FOR_IDS.sub('_', job.label)}" for job in batch.jobs]
    jobs = []
    for job, submission_id in zip(batch.jobs, ids, strict=True):
        # What had to be cut or replaced may now be equal for two jobs.
        if len(submission_id) > _ID_LENGTH or ids.count(submission_id) > 1 or submission_id != f"{chosen}-{job.label}":
            short = hashlib.sha256(canonical_json([job.label, _content(job.request)]).encode()).hexdigest()[:8]
            submission_id = f"{submission_id[: _ID_LENGTH - 9]}-{short}"
        jobs.append(replace(job, request=replace(job.request, submission_id=submission_id)))
    repeated = {each.request.submission_id for each in jobs}
    if len(repeated) < len(jobs):
        raise Refused("Two jobs of the batch are the same in everything.", "Give them names, or leave one out.")
    return replace(batch, name=chosen, jobs=tuple(jobs))


def _content(request: Request) -> dict[str, Any]:
    return {key: value for key, value in vars(request).items() if key != "submission_id" and value is not None}

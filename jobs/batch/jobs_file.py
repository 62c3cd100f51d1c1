"""Turns a jobs file or a sweep into a list of requests with ids. Pure, except that it reads the file and
those that a runtime_env in it names."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import Refused, did_you_mean
from ..spec.job_spec import JobFields, JobRequest, JobSpec, canonical_json, is_local_path
from ..upload.requirements import with_file_contents
from ..yaml_file import NotYaml, parse_as_typed, parse_yaml
from . import sweep

_OBJECT = "an object"
# Key of a job in the file -> (types, their name for a person).
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
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._-]+")
_ID_LENGTH = 100
_SCHEMA = "docs/jobs-many.md has the schema and an example."


@dataclass(frozen=True)
class BatchJob:
    """One job of a batch.

    Attributes:
        label: Distinguishes it from the other jobs.
        params: Its values of the sweep.
        request: The request; it has no id before `with_ids`.
    """

    label: str
    params: Mapping[str, str]
    request: JobRequest

    @property
    def submission_id(self) -> str:
        """The id of its first attempt."""
        assert self.request.submission_id is not None
        return self.request.submission_id


@dataclass(frozen=True)
class Batch:
    """Jobs that are run together. Without a `name`, `with_ids` derives one from the content."""

    name: str | None
    jobs: tuple[BatchJob, ...]
    concurrency: int | None = None


def from_sweep(words: Sequence[str], fields: JobFields, sweeps: Mapping[str, Sequence[str]]) -> Batch:
    """Builds a batch with one job for every combination of the sweeps.

    Args:
        words: The entrypoint, as words or as one shell line, with `{name}` for the value of a sweep.
        fields: The other fields; `{name}` is replaced in runtime_env and metadata too.
        sweeps: Name to values.

    Raises:
        Refused: A sweep is not used, or there are too many combinations.
    """
    runtime_env, metadata = fields.get("runtime_env") or {}, fields.get("metadata") or {}
    _check_used({"entrypoint": list(words), "runtime_env": dict(runtime_env)}, sweeps)
    jobs = []
    for params in sweep.combinations(sweeps):
        filled: JobFields = {
            **fields,
            "runtime_env": sweep.fill(runtime_env, params),
            "metadata": {**params, **sweep.fill(metadata, params)},
        }
        spec = JobSpec.from_fields(_shell_line(sweep.fill(list(words), params)), **filled)
        jobs.append(BatchJob(_label(params), params, JobRequest(spec)))
    return Batch(None, tuple(jobs))


def from_file(path: Path, sweeps: Mapping[str, Sequence[str]] | None = None) -> Batch:
    """Reads the batch of a jobs file; a working_dir in it is relative to the file.

    Args:
        path: The file.
        sweeps: Name to values, from the command line; they replace sweeps of the file with the same name.

    Raises:
        Refused: The file has problems; the message lists all of them.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused(f"There is no jobs file {path}.", _SCHEMA) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"Could not read the jobs file {path}: {error}.") from None
    return parse(text, path.parent, str(path), path.stem, sweeps or {})


def _words_as_typed(content: Any, typed: Any) -> Any:
    """Replaces the values of sweeps and the words of entrypoints by the text that was typed.

    They become text in any case, and YAML reads 01 and 1.10 as the numbers 1 and 1.1.
    """
    if not isinstance(content, dict):
        return content
    words: dict[str, Any] = {}
    for key, value in content.items():
        if (key == "sweep" and isinstance(value, dict)) or (key == "entrypoint" and isinstance(value, list)):
            words[key] = typed[key]
        elif key == "defaults":
            words[key] = _words_as_typed(value, typed[key])
        elif key == "jobs" and isinstance(value, list):
            words[key] = [_words_as_typed(*entries) for entries in zip(value, typed[key], strict=True)]
    return {**content, **words}


def parse(text: str, base: Path, source: str, stem: str, sweeps: Mapping[str, Sequence[str]]) -> Batch:
    """Reads the batch in the text of a jobs file.

    Args:
        text: The YAML.
        base: The directory that relative paths are relative to.
        source: The name of the file in messages.
        stem: The name of a batch without one.
        sweeps: See `from_file`.

    Raises:
        Refused: The content has problems; the message lists all of them.
    """
    try:
        content = _words_as_typed(parse_yaml(text), parse_as_typed(text))
    except NotYaml as error:
        raise Refused(f"The jobs file {source} {error}.", _SCHEMA) from None
    if not isinstance(content, dict):
        raise Refused(f"{source} must be an object with the key `jobs`.", _SCHEMA)
    defaults, entries = _check_file(content, source)
    in_file = {name: _values(name, values, source) for name, values in (content.get("sweep") or {}).items()}
    all_sweeps = {**in_file, **sweeps}
    _check_used(content, all_sweeps)
    jobs, errors = [], []
    for i, entry in enumerate(entries):
        merged = _merge(defaults, entry)
        # A job is multiplied only by the sweeps that it uses.
        used = {name: values for name, values in all_sweeps.items() if sweep.uses(merged, name)}
        for params in sweep.combinations(used):
            try:
                jobs.append(_job(sweep.fill(merged, params), params, i, base, several=len(entries) > 1))
            except Refused as error:
                errors.append((f"jobs[{i}]: " + error.message.replace("\n", "\n    "), error.remedy))
    if errors:
        # The jobs of a sweep often have the same problem.
        lines = dict.fromkeys(message for message, _ in errors)
        raise Refused("\n  ".join([f"{source} cannot be used:", *lines]), errors[0][1])
    return Batch(content.get("name") or _NOT_IN_IDS.sub("_", stem), tuple(jobs), content.get("concurrency"))


def _check_file(content: dict[Any, Any], source: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns defaults and jobs. Raises Refused with everything that is wrong."""
    problems = _key_problems(content, FILE_KEYS, "")
    defaults = content.get("defaults") or {}
    entries = content.get("jobs") or []
    if isinstance(defaults, dict):
        problems += _key_problems(defaults, {key: JOB_KEYS[key] for key in JOB_KEYS if key != "name"}, "defaults.")
    if not isinstance(entries, list) or not entries:
        problems.append("jobs: must be a list of at least one job")
        entries = []
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            problems.append(f"jobs[{i}]: must be an object, it is {_kind(entry)}")
            continue
        problems += _key_problems(entry, JOB_KEYS, f"jobs[{i}].")
        if not ({**defaults, **entry} if isinstance(defaults, dict) else entry).get("entrypoint"):
            problems.append(f"jobs[{i}].entrypoint: is missing")
    concurrency = content.get("concurrency")
    if isinstance(concurrency, int) and concurrency < 1:
        problems.append(f"concurrency: must be at least 1, it is {concurrency}")
    if problems:
        raise Refused("\n  ".join([f"{source} cannot be used:", *problems]), _SCHEMA)
    return defaults, entries


def _key_problems(
    values: dict[Any, Any], allowed: Mapping[str, tuple[tuple[type, ...], str]], prefix: str
) -> list[str]:
    problems = []
    for key, value in values.items():
        if key not in allowed:
            near = did_you_mean(str(key)[:100], allowed, sentence=False)
            problems.append(f"{prefix}{str(key)[:100]}: is not known; {near}allowed: {', '.join(allowed)}")
        elif value is not None and (not isinstance(value, allowed[key][0]) or isinstance(value, bool)):
            problems.append(f"{prefix}{key}: must be {allowed[key][1]}, it is {_kind(value)}")
    words = values.get("entrypoint")
    if isinstance(words, list) and any(word is None or isinstance(word, dict | list) for word in words):
        problems.append(f"{prefix}entrypoint: must be a string, or a list of words; a word of it is empty or an object")
    for key in ("metadata", "entrypoint_label_selector"):
        if isinstance(values.get(key), dict) and key in allowed:
            problems += [
                f"{prefix}{key}.{name}: must be a string (put it into quotes), it is {_kind(value)}"
                for name, value in values[key].items()
                if not isinstance(value, str)
            ]
    return problems


def _kind(value: Any) -> str:
    """What a value is, without the value: it may be a secret in the wrong place."""
    names = {bool: "true or false", str: "a string", int: "a number", float: "a number", list: "a list", dict: _OBJECT}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def _values(name: Any, values: Any, source: str) -> list[str]:
    if not isinstance(values, list):
        values = [values]
    if any(isinstance(value, dict | list) or value is None for value in values):
        raise Refused(f"{source}: sweep.{name} must be a list of values.", "Write it like `lr: [1e-3, 1e-4]`.")
    return sweep.values_of(str(name), [str(value) for value in values])


def _check_used(content: Any, sweeps: Mapping[str, Sequence[str]]) -> None:
    for name in sweeps:
        if not sweep.uses(content, name):
            raise Refused(
                f"The sweep {name!r} is used nowhere: every job would run once for each of its values, unchanged.",
                f"Write {{{name}}} in the place of its value.",
            )


def _merge(defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a job with its defaults; runtime_env and metadata are merged key by key."""
    merged = {**defaults, **entry}
    for key in ("runtime_env", "metadata"):
        merged[key] = {**(defaults.get(key) or {}), **(entry.get(key) or {})}
    return merged


def _job(fields: dict[str, Any], params: Mapping[str, str], index: int, base: Path, *, several: bool) -> BatchJob:
    name = fields.pop("name", None) or (f"job{index}" if several else "")
    entrypoint = _shell_line(fields.pop("entrypoint"))
    fields["metadata"] = {**params, **fields["metadata"]}
    working_dir = fields.get("working_dir") or fields["runtime_env"].get("working_dir")
    if is_local_path(working_dir):
        working_dir = str(base / working_dir)
    fields["working_dir"] = working_dir or None
    runtime_env = with_file_contents(fields["runtime_env"], base)
    modules = runtime_env.get("py_modules")
    if isinstance(modules, list):
        runtime_env["py_modules"] = [str(base / module) if is_local_path(module) else module for module in modules]
    fields["runtime_env"] = runtime_env
    values = _label(params)
    # A name that contains the values needs no repetition of them.
    label = "-".join(part for part in (name, values if not all(v in name for v in params.values()) else "") if part)
    return BatchJob(label or name or f"job{index}", params, JobRequest(JobSpec.from_fields(entrypoint, **fields)))


def _shell_line(entrypoint: str | Sequence[str]) -> str:
    if isinstance(entrypoint, str):
        return entrypoint
    words = [str(word) for word in entrypoint]
    return words[0] if len(words) == 1 else shlex.join(words)


def _label(params: Mapping[str, str]) -> str:
    return "-".join(f"{name}{value}" for name, value in params.items())


def with_ids(batch: Batch, name: str | None = None) -> Batch:
    """Gives the batch a name, and every job an id: the same batch always gets the same ids.

    Without a name, it is named after its content, so that other content is another batch. Raises Refused if two jobs
    are equal.
    """
    content = [[job.label, _content(job.request.spec)] for job in batch.jobs]
    derived = "batch-" + hashlib.sha256(canonical_json(content).encode()).hexdigest()[:10]
    chosen = _NOT_IN_IDS.sub("_", name or batch.name or derived).strip("._-") or derived
    ids = [f"{chosen}-{_NOT_IN_IDS.sub('_', job.label)}" for job in batch.jobs]
    jobs = []
    for job, submission_id in zip(batch.jobs, ids, strict=True):
        # If something was cut or replaced, two ids may be equal now.
        if len(submission_id) > _ID_LENGTH or ids.count(submission_id) > 1 or submission_id != f"{chosen}-{job.label}":
            digest = hashlib.sha256(canonical_json([job.label, _content(job.request.spec)]).encode()).hexdigest()
            submission_id = f"{submission_id[: _ID_LENGTH - 9]}-{digest[:8]}"
        jobs.append(replace(job, request=replace(job.request, submission_id=submission_id)))
    if len({job.submission_id for job in jobs}) < len(jobs):
        raise Refused("Two jobs of the batch are equal.", "Give them names, or leave one out.")
    return replace(batch, name=chosen, jobs=tuple(jobs))


def _content(spec: JobSpec) -> dict[str, Any]:
    """Returns the fields that are set. The form decides the names of batches, so it must stay: working_dir is a field
    here."""
    fields = {name: value for name, value in asdict(spec).items() if value is not None}
    working_dir = fields["runtime_env"].pop("working_dir", None)
    return fields if working_dir is None else {**fields, "working_dir": working_dir}

"""`submit --plan`: what would be uploaded, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..batch.jobs_file import Batch
from ..batch.prepare import prepare_batch
from ..errors import Refused, number_of
from ..packages import PackagePlanner
from ..spec.job_info import without_secrets
from ..spec.job_spec import JobFields, JobSpec, is_local_path
from ..spec.shown import visible, visible_json
from ..upload.pack import SERVER_LIMIT
from ..upload.plan import Plan
from ..upload.plan import plan as make_plan
from .output import print_json, print_text
from .runner import run

# How many paths of a kind are listed.
LISTED = 20


def print_plan(fields: JobFields, *, use_cache: bool, ledger: str | None, output: str) -> None:
    """Prints the upload of a job's working directory and modules, and its runtime_env as it is sent.

    Raises:
        Refused: A directory cannot be packed, a file cannot be read, or Ray would refuse the job.
    """
    spec = JobSpec.from_fields("true", **fields)
    sent, plans = run(lambda: PackagePlanner(use_cache=use_cache, ledger=ledger).plan(spec))
    if spec.working_dir is not None and not is_local_path(spec.working_dir):
        plans = (make_plan(spec.working_dir), *plans)
    runtime_env = _shown_runtime_env(sent.runtime_env)
    if not plans and not runtime_env:
        raise Refused("--plan requires a working directory or a runtime_env.", "Add --working-dir DIR.")
    directory = [plan for plan in plans[:1] if spec.working_dir is not None]
    modules = plans[len(directory) :]
    if output == "json":
        shown = {"modules": [{"module": plan.source, **_as_json(plan)} for plan in modules]} if modules else {}
        print_json({**(_as_json(directory[0]) if directory else {}), **shown, "runtime_env": runtime_env})
        return
    texts = [*map(_describe, directory), *(f"module {visible(plan.source)}\n{_describe(plan)}" for plan in modules)]
    texts = texts or ["No working directory: nothing is uploaded."]
    print_text("\n\n".join([*texts, *_describe_runtime_envs([runtime_env])]))


def print_batch_plans(batch: Batch, *, use_cache: bool, ledger: str | None, output: str) -> None:
    """Prints the upload of each working directory and each module of a batch. Raises Refused."""
    prepared_batch = run(lambda: prepare_batch(batch, use_cache=use_cache, ledger=ledger))
    prepared, plans = prepared_batch.submissions, prepared_batch.plans
    jobs = {uri: sum(uri in job.spec.package_uris for job in prepared) for uri in plans}
    directories = {job.spec.working_dir for job in prepared}
    if output == "json":
        print_json(
            [
                {"jobs": jobs[uri], "working_dir" if uri in directories else "module": plan.source, **_as_json(plan)}
                for uri, plan in plans.items()
            ]
        )
        return
    texts = [
        f"{'' if uri in directories else 'module '}{plan.source}, for {jobs[uri]} of {number_of(len(prepared), 'job')}"
        f"\n{_describe(plan)}"
        for uri, plan in plans.items()
    ] or [f"Nothing is uploaded: none of {number_of(len(prepared), 'job')} has a local directory or module."]
    print_text(
        "\n\n".join([*texts, *_describe_runtime_envs([_shown_runtime_env(job.spec.runtime_env) for job in prepared])])
    )


def _shown_runtime_env(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is sent beside the package, without secrets."""
    beside = {key: value for key, value in runtime_env.items() if key not in ("working_dir", "excludes")}
    return without_secrets(beside)


def _describe_runtime_envs(runtime_envs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns each different runtime_env that is not empty as text."""
    texts = dict.fromkeys(visible_json(each, indent=2) for each in runtime_envs if each)
    return [f"runtime_env, as it is sent: {text}" for text in texts]


def _as_json(plan: Plan) -> dict[str, Any]:
    return {
        "kind": plan.kind,
        "uri": plan.uri,
        "files": len(plan.files),
        "bytes": plan.total_bytes,
        "server_limit": SERVER_LIMIT,
        "largest": [{"path": file.relpath, "bytes": file.size} for file in plan.largest()],
        "removed": [vars(removed) for removed in plan.ignored],
        "skipped": [vars(skipped) for skipped in plan.skipped],
        "outside": [vars(link) for link in plan.outside],
        "secrets": [vars(secret) for secret in plan.secrets],
    }


def _describe(plan: Plan) -> str:
    """Returns the plan as text."""
    if not plan.needs_upload:
        return f"{plan.uri} is remote: Ray downloads it, nothing is uploaded."
    lines = [
        f"package:  {plan.uri}",
        f"files:    {len(plan.files)}, {_mib(plan.total_bytes)} before compression; the server accepts "
        f"{_mib(SERVER_LIMIT)} compressed",
    ]
    if plan.outside:
        lines.append("symlinks that lead out of the directory; the files there are uploaded:")
        lines += _listed([f"{link.relpath}  -> {link.target}" for link in plan.outside])
    if plan.secrets:
        lines.append("likely secrets, readable by everyone with access to the cluster:")
        lines += _listed([f"{secret.relpath}  ({secret.why})" for secret in plan.secrets])
    lines.append("largest:")
    lines += [f"  {_mib(file.size):>12}  {file.relpath}" for file in plan.largest()]
    if plan.ignored:
        lines.append("ignored by a rule:")
        lines += _listed([f"{removed.relpath}  ({removed.pattern} in {removed.source})" for removed in plan.ignored])
    if plan.skipped:
        lines.append("left out, with the reason:")
        lines += _listed([f"{skipped.relpath}  ({skipped.why})" for skipped in plan.skipped])
    return "\n".join(lines)


def _listed(paths: Sequence[str]) -> list[str]:
    rest = [f"  ... and {len(paths) - LISTED} more"] if len(paths) > LISTED else []
    return [*(f"  {path}" for path in paths[:LISTED]), *rest]


def _mib(size: int) -> str:
    return f"{size / 1024**2:.2f} MiB"

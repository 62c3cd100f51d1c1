"""`submit --plan`: what would be uploaded, before a byte is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import print_json, run

if TYPE_CHECKING:
    from ..batch.jobs_file import Batch
    from ..upload.pack import Plan

SHOWN = 20


def show_plan(working_dir: str | None, excludes: list[str], *, use_cache: bool, output: str) -> None:
    """Prints the plan of a working directory. Raises Refused for what cannot be packed."""
    from ..errors import Refused

    if working_dir is None:
        raise Refused(
            "--plan shows what a working directory becomes, and none is given.",
            "Add --working-dir DIR.",
        )

    from ..session import in_thread
    from ..upload import pack as package

    async def main() -> Plan:
        return await in_thread(lambda: package.plan(working_dir, excludes=excludes, use_cache=use_cache))

    plan = run(main)
    if output == "json":
        print_json(as_json(plan))
    else:
        click.echo(describe(plan))


def show_plans(batch: Batch, *, use_cache: bool, output: str) -> None:
    """Prints the plan of each working directory of a batch. Raises Refused."""
    from ..batch.prepare import plan_packages

    named, plans = run(lambda: plan_packages(batch, use_cache=use_cache))
    jobs = {uri: sum(job.request.working_dir == uri for job in named.jobs) for uri in plans}
    if output == "json":
        print_json([{"jobs": jobs[uri], "working_dir": plan.source, **as_json(plan)} for uri, plan in plans.items()])
        return
    texts = [
        f"{plan.source}, for {jobs[uri]} of {len(named.jobs)} jobs\n{describe(plan)}" for uri, plan in plans.items()
    ]
    click.echo("\n\n".join(texts) or f"Nothing is uploaded: none of {len(named.jobs)} jobs has a local directory.")


def as_json(plan: Plan) -> dict[str, Any]:
    from ..upload.pack import SERVER_LIMIT

    return {
        "kind": plan.kind,
        "uri": plan.uri,
        "files": len(plan.files),
        "bytes": plan.total_bytes,
        "server_limit": SERVER_LIMIT,
        "largest": [{"path": file.relpath, "bytes": file.size} for file in plan.largest()],
        "removed": [vars(each) for each in plan.removed],
        "skipped": [vars(each) for each in plan.skipped],
        "secrets": [vars(each) for each in plan.secrets],
    }


def describe(plan: Plan) -> str:
    """The plan for a person."""
    from ..upload.pack import SERVER_LIMIT

    if not plan.needs_upload:
        return f"{plan.uri} is remote: Ray fetches it, nothing is uploaded."
    lines = [
        f"package:  {plan.uri}",
        f"files:    {len(plan.files)}, {mib(plan.total_bytes)} before compression; the server takes "
        f"{mib(SERVER_LIMIT)} compressed",
    ]
    if plan.secrets:
        lines.append("likely secrets, which everybody with access to the cluster could read:")
        lines += [f"  {each.relpath}  ({each.why})" for each in plan.secrets[:SHOWN]]
        lines += more(len(plan.secrets))
    lines.append("largest:")
    lines += [f"  {mib(file.size):>12}  {file.relpath}" for file in plan.largest()]
    if plan.removed:
        lines.append("left out by rules:")
        lines += [f"  {each.relpath}  ({each.pattern} in {each.source})" for each in plan.removed[:SHOWN]]
        lines += more(len(plan.removed))
    if plan.skipped:
        lines.append("left out since they cannot be packed:")
        lines += [f"  {each.relpath}  ({each.why})" for each in plan.skipped[:SHOWN]]
        lines += more(len(plan.skipped))
    return "\n".join(lines)


def more(count: int) -> list[str]:
    return [f"  ... and {count - SHOWN} more"] if count > SHOWN else []


def mib(size: int) -> str:
    return f"{size / 1024**2:.2f} MiB"

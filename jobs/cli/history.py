"""`history`: what was submitted from this machine, or with --team all jobs of a cluster, from its keeper."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from ..errors import Refused, UnknownJob, command
from ..spec.durations import parse_since, show_duration
from ..spec.shown import cell, shown
from ..user import user_for_cluster
from .help import ANSWER_HELP, TARGET_HELP, Command, id_argument, option
from .ledger_log import find_entry
from .options import output_option, target_options
from .output import local_time, notify, print_fields, print_json, print_text
from .runner import open_ledger, run
from .status_line import mib
from .statuses import status_option
from .table import print_table

if TYPE_CHECKING:
    from ..keeper.client import KeptJob
    from ..ledger.records import Entry
    from ..target.options import TargetOptions


@click.command("history", cls=Command, epilog=TARGET_HELP + ANSWER_HELP)
@id_argument("submission_id", metavar="[ID]", required=False)
@option("--mine", is_flag=True, help="Only jobs that this user submitted.")
@status_option(help="Only this status, such as RUNNING, FAILED, LOST.")
@option("--limit", type=click.IntRange(min=1), default=50, metavar="N", help="Only the N newest (default 50).")
@option("--team", is_flag=True, help="All jobs of the cluster, from its keeper.", section="Team options")
@option("--user", metavar="NAME", help="Only jobs of this user.", section="Team options")
@option("--since", metavar="TIME", help="Only jobs since then: 2h, 7d, 2026-11-20.", section="Team options")
@option(
    "--search",
    metavar="TEXT",
    help="Only with this text in the id, the command line, the metadata or the message.",
    section="Team options",
)
@output_option
@target_options
def history_command(
    submission_id: str | None,
    mine: bool,
    status: str | None,
    limit: int,
    team: bool,
    user: str | None,
    since: str | None,
    search: str | None,
    output: str,
    target_options: TargetOptions,
) -> None:
    """Show the jobs that were submitted from this machine, newest first; with an ID, all that is known of the job.

    The local job history is a file of this user, the ledger. It needs no cluster, and it still has the jobs of clusters
    that were deleted. The status of a job is the last one that a command on this machine saw.

    With --team, the answer comes from the cluster's keeper: the jobs of everybody, from every machine and client, with
    how they ended. The target options choose the cluster.

    \b
    Examples:
      rayjobs history --mine
      rayjobs history --status LOST --output json
      rayjobs history raysubmit_1f0c
      rayjobs history --team --since 2d --status FAILED
      rayjobs history --team --user alice --search train.py --limit 200
    """
    if team:
        if mine and user is not None:
            raise click.UsageError("--mine and --user cannot be used together.")
        if mine and not (user := user_for_cluster()):
            raise Refused("--mine has no name to look for: RAYJOBS_USER is empty.", "Name one with --user.")
        _show_team(submission_id, _filters(user, status, since, search), limit, output, target_options)
        return
    for name, value in {"--user": user, "--since": since, "--search": search}.items():
        if value is not None:
            raise Refused(f"{name} has no effect without --team.", f"{command('list')} has --user and --since too.")
    _refuse_target(target_options)
    job_history = open_ledger(target_options.ledger)
    if submission_id is not None:
        entry = find_entry(job_history, submission_id)
        if output == "json":
            print_json(entry.as_json())
        else:
            print_entry(entry)
        return
    entries = job_history.history(mine=mine, status=status, limit=limit)
    if output == "json":
        print_json([entry.as_json() for entry in entries])
        return
    print_table(
        ("ID", "STATUS", "SUBMITTED", "USER", "STACK", "CLUSTER", "ENTRYPOINT"),
        [_row(entry) for entry in entries],
        optional=("CLUSTER", "STACK", "USER", "SUBMITTED"),
    )


def _refuse_target(options: TargetOptions) -> None:
    """The local job history has jobs of all clusters: a target would suggest otherwise."""
    for name in ("address", "outputs", "stack", "cluster", "local", "keeper"):
        if getattr(options, name):
            raise Refused(
                f"--{name} has no effect without --team.", "The local job history has the jobs of all clusters."
            )


def _filters(user: str | None, status: str | None, since: str | None, search: str | None) -> dict[str, str]:
    """Returns the parameters of `GET /v1/jobs`. A date is one of this machine's zone, not of the keeper's."""
    values = {"user": user, "status": status, "search": search}
    if since:
        at = parse_since(since, "--since", time.time())
        values["since"] = datetime.fromtimestamp(at, timezone.utc).isoformat()
    return {key: value for key, value in values.items() if value}


def _show_team(
    submission_id: str | None, filters: dict[str, str], limit: int, output: str, options: TargetOptions
) -> None:
    from ..keeper.reach import reach_keeper
    from ..target.resolve import resolve

    if submission_id is not None and filters:
        raise Refused(f"--{next(iter(filters))} has no effect with an ID.", "Leave one of them out.")
    target = resolve(options, notify=notify, is_keeper_enough=True)

    async def ask() -> tuple[list[KeptJob], bool]:
        async with reach_keeper(target, notify=notify) as keeper:
            if submission_id is None:
                return await keeper.jobs(filters, limit)
            job = await keeper.job(submission_id)
            if job is None:
                raise UnknownJob(
                    f"{keeper.where} has no job {submission_id!r}.", f"{command('history --team')} lists its jobs."
                )
            return [job], False

    jobs, has_more = run(ask)
    if output == "json":
        records = [job.as_json() for job in jobs]
        print_json(records if submission_id is None else records[0])
    elif submission_id is not None:
        print_entry(jobs[0].entry, jobs[0].reason)
    else:
        now = time.time()
        print_table(
            ("ID", "STATUS", "USER", "SUBMITTED", "DURATION", "ENTRYPOINT"),
            [_team_row(job.entry, now) for job in jobs],
            optional=("SUBMITTED", "USER", "DURATION"),
        )
    if has_more:
        notify(f"These are the {len(jobs)} newest. --limit {10 * limit} shows more, --since and --search show fewer.")


def _team_row(entry: Entry, now: float) -> tuple[str, ...]:
    from ..keeper.web.timeline import begin, total_seconds

    return (
        entry.submission_id,
        entry.status,
        shown(entry.user, 20),
        local_time(begin(entry)),
        show_duration(total_seconds(entry, now)),
        cell(str(entry.spec.get("entrypoint", ""))),
    )


def _row(entry: Entry) -> tuple[str, ...]:
    place = entry.place
    return (
        entry.submission_id,
        entry.status,
        local_time(entry.created),
        entry.user,
        place.stack or place.kind,
        place.cluster or place.identity,
        cell(entry.spec["entrypoint"]),
    )


def _package(entry: Entry) -> str | None:
    size = entry.origin.package_bytes
    return entry.package if size is None else f"{entry.package or 'modules'} ({mib(size)} MiB before compression)"


def print_entry(entry: Entry, reason: str | None = None) -> None:
    """Prints all that a ledger has of a submission, a line for each field and each status.

    Args:
        entry: The submission.
        reason: Why it failed or waits, in words.
    """
    place, origin = entry.place, entry.origin
    commit = ""
    if origin.commit:
        commit = f"{origin.commit.sha}{' (with uncommitted changes)' if origin.commit.dirty else ''}"
    print_fields(
        [
            ("job", entry.submission_id),
            ("status", entry.status),
            ("entrypoint", shown(str(entry.spec.get("entrypoint", "")), lines=True)),
            ("exit code", entry.driver_exit_code),
            ("error", entry.error_type),
            ("why", reason),
            ("where", f"{place.stack or place.kind}, {place.cluster or place.identity}"),
            ("user", f"{entry.user} on {entry.host}" if entry.host else entry.user),
            ("key", origin.key),
            ("batch", origin.batch),
            ("attempt of", origin.attempt_of),
            ("directory", origin.working_dir),
            ("package", _package(entry)),
            ("modules", ", ".join(origin.modules)),
            ("commit", commit),
            ("withheld", ", ".join(entry.withheld)),
        ]
    )
    for status, at in entry.changes:
        print_text(f"  {local_time(at)}  {status}")

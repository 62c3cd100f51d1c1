"""`page [ID]`: all jobs in the browser."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from ..activity import activity
from ..errors import Interrupted, NotThere, Refused, Unreachable
from .extra import check_extra
from .help import TARGET_HELP, Command, id_argument, option
from .options import target_options
from .output import notify
from .runner import open_ledger, run

if TYPE_CHECKING:
    from ..target.options import TargetOptions
    from ..target.resolve import Target


@click.command("page", cls=Command, epilog=TARGET_HELP)
@id_argument("submission_id", metavar="[ID]", required=False)
@option("--no-open", is_flag=True, help="Print the link, and open no browser.")
@option("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Local port (default: a free one).")
@target_options
def page_command(submission_id: str | None, no_open: bool, port: int, target_options: TargetOptions) -> None:
    """Open the page of all jobs in the browser, until Ctrl-C; with an ID, the page of that job.

    The page shows what waits and runs, what ended and why, each log as it grows, and the cluster. It changes nothing.

    If the cluster has a keeper, the page is the keeper's: everybody's jobs, also those that Ray has forgotten. Else
    this command serves it on this machine, from the local job history and what Ray has now. Then a log is read when it
    is opened.

    The link opens the page once, within a minute, and only on this machine. The page of a keeper on another machine
    opens through `ssh -L 8270:127.0.0.1:8270 HOST`.

    \b
    Examples:
      rayjobs page
      rayjobs page raysubmit_1f0c
      rayjobs page --local
      rayjobs page --no-open --port 8270
      rayjobs page --keeper http://127.0.0.1:8270 --token-file token
    """
    from dataclasses import replace

    from ..keeper.reach import has_keeper
    from ..target.resolve import ClusterTarget, resolve

    target = resolve(replace(target_options, port=port), notify=notify, is_keeper_enough=True)

    async def main() -> None:
        if has_keeper(target):
            try:
                await _show_page_of_keeper(target, submission_id, is_opened=not no_open)
            except (NotThere, Unreachable) as error:
                if target.keeper is not None:  # It was asked for by name.
                    raise
                notify(f"The keeper of {target.name} could not be asked: {error.message} This page is without it.")
        check_extra("The page of a cluster without a keeper")
        # The port is the page's, not that of the tunnel to Ray.
        own = replace(target, port=0) if isinstance(target, ClusterTarget) else target
        await _show_own_page(own, submission_id, port, target_options.ledger, is_opened=not no_open)

    try:
        run(main)
    except Interrupted as interrupted:
        if interrupted.terminated:
            raise
        notify("The page is closed.")


async def _show_page_of_keeper(target: Target, submission_id: str | None, *, is_opened: bool) -> None:
    from urllib.parse import urlsplit

    from ..keeper.reach import reach_keeper
    from ..target.resolve import ClusterTarget, is_loopback

    address = urlsplit(target.keeper.url if target.keeper else "")
    if target.keeper is not None and not is_loopback(address.hostname):
        host, port = address.hostname, address.port or 8270
        raise Refused(
            f"The page of the keeper at {target.keeper.url} opens only in a browser of its own machine.",
            f"Run `ssh -L {port}:127.0.0.1:{port} {host}`, and then this command with --keeper http://127.0.0.1:{port}.",
        )
    async with reach_keeper(target, notify=notify, for_browser=True) as keeper:
        if isinstance(target, ClusterTarget) and target.keeper is None and target.cluster.auth_secret is None:
            notify(
                f"{target.name} has no token authentication: every user of this machine can read its jobs through "
                f"{keeper.url} while this command runs."
            )
        path = await keeper.page_path(submission_id)
        await _show(f"{keeper.url}{path}", f"The page of {keeper.where}", is_opened=is_opened)
        await asyncio.Event().wait()


async def _show_own_page(
    target: Target, submission_id: str | None, port: int, ledger: str | None, *, is_opened: bool
) -> None:
    from ..keeper.own_page import own_page

    async with own_page(target, open_ledger(ledger).path, submission_id, port, notify) as (new_link, page):
        running = asyncio.ensure_future(page.run())
        trying = asyncio.ensure_future(page.is_tried.wait())
        try:
            # A target that cannot be used is an error, and not a page.
            with activity(f"Reading the jobs of {target.name}"):
                await asyncio.wait({running, trying}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
            await _show(new_link(), f"The page of {target.name}", is_opened=is_opened)
            await running
        finally:
            for task in (running, trying):
                task.cancel()
            await asyncio.gather(running, trying, return_exceptions=True)


async def _show(url: str, what: str, *, is_opened: bool) -> None:
    """Prints the link of a page, and opens a browser."""
    import webbrowser

    click.echo(url)
    notify(f"{what} is open until Ctrl-C.")
    # Some browsers of terminals return only when they end.
    if is_opened and not await asyncio.get_running_loop().run_in_executor(None, webbrowser.open, url):
        notify("No browser could be started here. Open the link yourself within a minute.")

"""`keep`: keeps every job of a cluster in a folder, and shows them, for as long as the command runs."""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from ..errors import Interrupted, LocalFault, Refused, command, repeat_target
from .extra import check_extra
from .help import TARGET_HELP, Command, option
from .options import target_options
from .output import notify
from .runner import run
from .terminal import at_terminal

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from ..connection import Connection
    from ..keeper.web.access import Access
    from ..ledger.keeping import Limits
    from ..target.options import TargetOptions
    from ..target.resolve import Target

LISTEN = "127.0.0.1:8270"
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")

KEEP_HELP = """
\b
Exit codes: 0 Ctrl-C or SIGTERM, 2 refused input, or the folder cannot be used,
6 unreachable or not allowed at the start.
"""


@click.command("keep", cls=Command, epilog=TARGET_HELP + KEEP_HELP)
@option("--data", metavar="DIR", required=True, help="Folder of the kept jobs; it is made if necessary.")
@option("--listen", metavar="ADDRESS:PORT", default=LISTEN, help=f"Where the page and the API are (default {LISTEN}).")
@option(
    "--retain-days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Remove ended jobs so long after their end (default: never).",
)
@option("--retain-bytes", metavar="SIZE", help="Most bytes of all logs on the disk, such as 8Gi (default: no limit).")
@option(
    "--log-bytes",
    metavar="SIZE",
    help="Most bytes of one log; of a longer one the begin and the end are kept (default: no limit).",
)
@option("--in-cluster", is_flag=True, help="This is a pod of the cluster's network: connect to Ray without a tunnel.")
@target_options
def keep_command(
    data: str,
    listen: str,
    retain_days: float | None,
    retain_bytes: str | None,
    log_bytes: str | None,
    in_cluster: bool,
    target_options: TargetOptions,
) -> None:
    """Keep every job of a cluster, whoever submitted it, until Ctrl-C: its states, its whole log, and why it failed.

    The jobs stay in the folder after Ray has forgotten them. A keeper that was stopped, or killed, goes on at the byte
    where it was. It goes on by itself after every fault of Ray, of the network and of the disk. It starts and ends no
    job; like `list`, it makes Ray notice jobs whose node is gone. Only one keeper can use a folder.

    The page shows the jobs of the folder. It listens on this machine only, unless --listen names another address.
    Programs need the cluster's token; if it has none, the keeper makes one in the folder. Values that look like secrets
    are withheld, but logs are kept as the jobs wrote them: let only those read the folder who may read the logs.

    \b
    Examples:
      rayjobs keep --data ~/kept
      rayjobs keep --data /srv/kept --retain-days 90 --retain-bytes 50Gi --log-bytes 1Gi
      rayjobs keep --data kept --address http://127.0.0.1:8265
      rayjobs keep --data /data --listen 0.0.0.0:8270 --in-cluster --outputs outputs.json
    """
    from ..ledger.keeping import Limits
    from ..target.resolve import resolve

    if target_options.keeper is not None:
        raise Refused("--keeper has no effect with `keep`, which is a keeper itself.", "Leave it out.")
    limits = Limits(retain_days, _size("--retain-bytes", retain_bytes), _size("--log-bytes", log_bytes))
    host, port = parse_listen(listen)
    check_extra("The keeper")
    target = resolve(target_options, notify=notify)
    if in_cluster:
        target = _in_cluster(target)
    with closing(_listen(host, port)) as bound:
        try:
            run(lambda: _keep(target, Path(data), limits, bound, host))
        except Interrupted:
            notify("The keeper has stopped.")


async def _keep(target: Target, folder: Path, limits: Limits, bound: socket.socket, host: str) -> None:
    import asyncio

    from ..connection import open_connection
    from ..keeper.keeper import open_keeper
    from ..keeper.serving import ServedToken, access_of, host_names, own_token_file, served_of
    from ..keeper.web.app import create_app
    from ..keeper.web.serve import serving
    from ..target.resolve import is_in_cluster

    async with (
        open_connection(target, notify=notify) as connection,
        open_keeper(connection, folder, limits, notify) as keeper,
    ):
        await _check_reach(connection)
        is_without_token = not is_in_cluster(target) and await connection.read_token() is None
        own_token = own_token_file(folder) if is_without_token else None
        token = ServedToken(connection, asyncio.get_running_loop(), own_token)
        access = access_of(connection, token)
        app = create_app(served_of(keeper, access), host_names(connection, host))
        with serving(app, bound) as url:
            notify(f"Keeping the jobs of {target.name} in {folder}.")
            # A pod's folder is opened later, and is of one cluster.
            others = [] if is_in_cluster(target) else keeper.kept.unfinished_elsewhere(connection.identity)
            for other in others:
                notify(
                    f"{folder} also has jobs of {other}. Those that had not ended stay so: use one folder per cluster."
                )
            for line in _about_page(url, target, access, own_token):
                notify(line)
            # What is recorded is for everybody: a command in it must not name the target of this one.
            repeat_target(())
            await asyncio.gather(keeper.run(), token.run())


def _about_page(url: str, target: Target, access: Access, own_token: Path | None) -> Iterator[str]:
    """Yields how to open the page, now and later. A key that opens it is shown only to a person at a terminal."""
    from ..target.resolve import is_in_cluster, is_loopback

    token = "" if own_token is None else f" --token-file {shlex.quote(str(own_token))}"
    if is_in_cluster(target):
        yield f"Listening at {url}. `rayjobs page` opens the page for everybody who has the stack's outputs."
    elif not is_loopback(urlsplit(url).hostname):
        yield f"Listening at {url}. From another machine, open the page through ssh, as {command('page --help')} says."
    elif at_terminal(sys.stderr):
        yield f"Page, to open once within a minute: {url}{access.new_path()}"
        yield f"Later {command(f'page --keeper {url}{token}')} opens it."
    else:
        yield f"Page: {url}"
        yield f"{command(f'page --keeper {url}{token}')} opens it in a browser."
    if own_token is not None:
        yield f"This Ray has no token. The keeper's own one is in {own_token}, which only this user can read."


async def _check_reach(connection: Connection) -> None:
    """Raises Unreachable, NotAllowed if nothing answers that looks like Ray. In the cluster it may start later."""
    from ..deadline import Deadline
    from ..target.resolve import is_in_cluster

    if not is_in_cluster(connection.target):
        await connection.client.version(Deadline(60.0))


def parse_listen(text: str) -> tuple[str, int]:
    """Returns host and port of `--listen`. Raises Refused."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise Refused(f"--listen {text!r} is not ADDRESS:PORT.", f"Write it like {LISTEN}; port 0 is a free one.")
    return match["host"].strip("[]"), int(match["port"])


def _size(name: str, text: str | None) -> int | None:
    """Returns the bytes of a size. Raises Refused."""
    from ..kubernetes.quantities import parse_quantity

    try:
        return None if text is None else int(parse_quantity(text))
    except ValueError:
        raise Refused(
            f"{name} {text!r} is not a size.", "Use a number of bytes, or a value such as 500Mi or 8Gi."
        ) from None


def _in_cluster(target: Target) -> Target:
    from ..target.resolve import ClusterTarget

    if not isinstance(target, ClusterTarget):
        raise Refused(
            "--in-cluster needs a cluster of a stack, which an outputs file names.",
            "Name it with --outputs, or leave out --in-cluster: --address connects directly too.",
        )
    return replace(target, in_cluster=True)


def _listen(host: str, port: int) -> socket.socket:
    from ..keeper.web.serve import bound_socket

    try:
        return bound_socket(host, port)
    except OSError as error:
        raise LocalFault(
            f"The keeper cannot listen at {host}:{port}: {error.strerror or error}.",
            "Choose another port with --listen; port 0 is a free one.",
        ) from None

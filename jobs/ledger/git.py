"""The commit of a working directory. A repository's own configuration runs no program.

`git status` by itself would run programs that a repository names: `core.fsmonitor`, hooks, content filters, and
transports that fetch missing objects.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..activity import activity
from ..deadline import Deadline
from ..private_file import other_owner, read_regular

GIT_SECONDS = 5.0
# `-c` has precedence over the repository's configuration, and git passes it on to its own processes.
_NO_PROGRAMS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "safe.bareRepository=explicit",
)
_GITFILE_LIMIT = 8192


@dataclass(frozen=True)
class Commit:
    """`sha` is the full id; `dirty`: files differ from it, or are not tracked."""

    sha: str
    dirty: bool


def commit_of(directory: Path) -> Commit | None:
    """The commit that is checked out.

    None without git, outside a repository, in another user's repository (unless git's `safe.directory` names it), or if
    git does not answer in 5 s.
    """
    deadline = Deadline(GIT_SECONDS)
    try:
        with activity(f"Reading the git commit of {directory}", deadline):
            if not _is_trusted_repository(directory, deadline):
                return None
            filters = _filters_of_repository(directory, deadline)
            # `dirty`: git would run another git in each submodule, whose configuration names programs too.
            command = ["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--ignore-submodules=dirty"]
            done = _git(directory, command, filters, deadline)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    sha = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if done.returncode != 0 or sha == "(initial)":
        return None
    return Commit(sha, any(not line.startswith("#") for line in lines))


def _git(
    directory: Path, arguments: list[str], settings: list[str], deadline: Deadline
) -> subprocess.CompletedProcess[bytes]:
    options = [word for setting in (*_NO_PROGRAMS, *settings) for word in ("-c", setting)]
    environ = {
        **os.environ,
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
        # Objects that are missing are not fetched: a remote's URL or its ssh command would be run.
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
    }
    return subprocess.run(
        ["git", "-C", str(directory), "--no-pager", *options, *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=max(0.1, deadline.left),
        check=False,
    )


def _is_trusted_repository(directory: Path, deadline: Deadline) -> bool:
    """Whether the repository around a directory is this user's, or one that the user has named to git. Raises OSError.

    Git checks the same since 2.35.2.
    """
    directory = directory.resolve()
    for candidate in (directory, *directory.parents):
        entry = candidate / ".git"
        if not entry.exists():
            continue
        places = [directory, candidate, entry]
        if not entry.is_dir():
            # A worktree or a submodule: the file names the directory of the repository.
            content = (read_regular(entry, _GITFILE_LIMIT) or b"").decode(errors="surrogateescape")
            places.append(candidate / content.removeprefix("gitdir:").strip())
        if not any(other_owner(place) for place in places):
            return True
        # Asked outside the repository: only the user and the system can name a directory.
        listing = _git(Path("/"), ["config", "--null", "--get-all", "safe.directory"], [], deadline)
        return bool({"*", str(candidate)} & set(listing.stdout.decode(errors="surrogateescape").split("\0")))
    return False


def _filters_of_repository(directory: Path, deadline: Deadline) -> list[str]:
    """Settings that switch off the content filters that the repository itself defines. Raises OSError.

    Filters of the user or the system stay: without the one of git-lfs, its files would differ from the commit.
    """
    listing = _git(directory, ["config", "--show-scope", "--null", "--get-regexp", r"^filter\."], [], deadline)
    if listing.returncode not in (0, 1):  # 1: there are no filters.
        raise OSError("git cannot list the filters")
    # Each entry is a scope, and a key with its value on the following lines.
    fields = listing.stdout.decode(errors="surrogateescape").split("\0")
    names = {
        entry.partition("\n")[0].removeprefix("filter.").rpartition(".")[0]
        for scope, entry in zip(fields[::2], fields[1::2], strict=False)
        if scope not in ("system", "global")
    }
    if any("=" in name for name in names):
        raise OSError("`git -c` cannot name a filter with = in its name")
    return [
        f"filter.{name}.{setting}"
        for name in sorted(names)
        for setting in ("clean=", "smudge=", "process=", "required=false")
    ]

"""Who runs this command."""

from __future__ import annotations

import os
from collections.abc import Mapping

# The longest name that is sent.
MOST_CHARACTERS = 64


def current_user() -> str:
    """Returns the name of this machine's user, or its number if it has no name."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def user_for_cluster(environ: Mapping[str, str] = os.environ) -> str:
    """Returns the name that a job has on the cluster: RAYJOBS_USER, or `current_user`. Empty: the job gets none."""
    name = environ.get("RAYJOBS_USER")
    return (current_user() if name is None else name.strip())[:MOST_CHARACTERS]

"""The id by which a job is known."""

from __future__ import annotations

import hashlib
import re
import secrets

from ..errors import Refused

# The id is part of a URL and of a log file's name on the node.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def new_submission_id() -> str:
    """A random id, in the shape of the stock client's."""
    return "raysubmit_" + secrets.token_hex(8)


def submission_id_of_key(key: str) -> str:
    """The id that `--key` stands for: the same key always means the same job."""
    if not key:
        raise Refused(
            "--key is empty.", "Give it a name that stands for this piece of work, such as a date and a step."
        )
    return "rayjobs_key_" + hashlib.sha256(key.encode()).hexdigest()[:24]


def check_submission_id(submission_id: str) -> str:
    if not _ID.fullmatch(submission_id):
        raise Refused(
            f"The submission id {submission_id!r} cannot be used.",
            "Allowed: 1 to 128 letters, digits, '.', '_' and '-', the first one a letter or digit.",
        )
    return submission_id

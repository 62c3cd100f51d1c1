"""The id by which a job is known."""

from __future__ import annotations

import hashlib
import re
import secrets

from ..errors import Refused

# The id is part of a URL and of the name of a log file.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def new_submission_id() -> str:
    """Returns a random id, in the form of the stock client's."""
    return "raysubmit_" + secrets.token_hex(8)


def submission_id_of_key(key: str) -> str:
    """Returns the id that a key stands for: the same key is always the same job. Raises Refused for an empty key."""
    if not key:
        raise Refused("--key is empty.", "Use a text that stands for this piece of work, such as nightly-2026-11-23.")
    return "rayjobs_key_" + hashlib.sha256(key.encode()).hexdigest()[:24]


def check_submission_id(submission_id: str) -> str:
    """Returns the id itself. Raises Refused if it is not a valid id."""
    if not _ID.fullmatch(submission_id):
        raise Refused(
            f"The submission id {submission_id!r} is not valid.",
            "Allowed: 1 to 128 letters, digits, '.', '_' and '-'; the first must be a letter or digit.",
        )
    return submission_id

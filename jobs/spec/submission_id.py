"""The id by which a job is known."""

from __future__ import annotations

import hashlib
import re
import secrets

from ..errors import Refused, command

# The id is part of a URL and of the name of a log file.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# Ray counts the programs that connect to it, and shows the number as four bytes, the lowest first: 03000000. See
# ray._raylet.JobID.from_int.
_JOB_ID = re.compile(r"[0-9a-f]{8}")
_JOB_ID_BELOW_65536 = re.compile(r"[0-9a-f]{4}0000")


def new_submission_id() -> str:
    """Returns a random id, in the form of the stock client's."""
    return "raysubmit_" + secrets.token_hex(8)


def submission_id_of_key(key: str) -> str:
    """Returns the id that a key stands for: the same key is always the same job. Raises Refused for an empty key."""
    if not key:
        raise Refused("--key is empty.", "Use a text that stands for this piece of work, such as nightly-2026-11-23.")
    return "rayjobs_key_" + hashlib.sha256(key.encode()).hexdigest()[:24]


def has_form_of_job_id(text: str) -> bool:
    """Returns whether the text may be Ray's id of a driver. It may be a submission id too, such as 20261123."""
    return _JOB_ID.fullmatch(text) is not None


def check_submission_id(submission_id: str) -> str:
    """Returns the id itself. Raises Refused if it is not a valid id for a new job."""
    if _JOB_ID_BELOW_65536.fullmatch(submission_id):
        raise Refused(
            f"The submission id {submission_id!r} has the form of Ray's job ids. Ray would answer about another job.",
            f"Choose another one. {command(f'logs --follow {submission_id}')} follows the job that has this job id.",
        )
    if not _ID.fullmatch(submission_id):
        raise Refused(
            f"The submission id {submission_id!r} is not valid.",
            "Allowed: 1 to 128 letters, digits, '.', '_' and '-'; the first must be a letter or digit.",
        )
    return submission_id

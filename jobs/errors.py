"""Every failure a user can meet: what happened, what to do next, and the exit code it ends the command with."""

from __future__ import annotations

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_STOPPED = 3
EXIT_LOST = 4
EXIT_DEADLINE = 5
EXIT_UNREACHABLE = 6
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

# The command as the reader has to type it: the package's own name says whether it is installed or a folder here.
COMMAND = "rayjobs" if __name__.startswith("rayjobs.") else "python -m jobs"


def command(arguments: str) -> str:
    """A command line of this program in backticks, ready to be pasted, such as `rayjobs logs ID`."""
    return f"`{COMMAND} {arguments}`"


class JobsError(Exception):
    """Base of all errors of this package.

    `str(error)` is the whole message for a person; `remedy` is its last sentence alone (what to do next).
    """

    exit_code = EXIT_FAILED

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}\n  {remedy}" if remedy else what)


class Refused(JobsError):
    """The input cannot be taken as it is; nothing was sent."""

    exit_code = EXIT_REFUSED


class Conflict(Refused):
    """A job with this id exists and its content is another one."""


class PackageTooLarge(Refused):
    """The package is over the server's limit."""


class UnknownJob(Refused):
    """The server knows no job with this id."""


class JobFailed(JobsError):
    """The job ended with FAILED. Raised by the Python API's `Result.check()`."""

    exit_code = EXIT_FAILED


class JobStopped(JobsError):
    """The job ended with STOPPED."""

    exit_code = EXIT_STOPPED


class JobLost(JobsError):
    """The job was accepted, and the server no longer knows it (a head that restarted without fault tolerance)."""

    exit_code = EXIT_LOST


class DeadlinePassed(JobsError):
    """A deadline the caller set (or the default one) passed; the message names what was waited for."""

    exit_code = EXIT_DEADLINE


class Unreachable(JobsError):
    """No answer, or no usable one, from Ray or Kubernetes."""

    exit_code = EXIT_UNREACHABLE


class NotAllowed(Unreachable):
    """Ray or Kubernetes answered 401 or 403."""


class ServerFault(Unreachable):
    """The server answered with an error of its own (5xx) or with something that is not its API."""

    def __init__(self, what: str, remedy: str = "", *, status: int = 0, body: str = "") -> None:
        super().__init__(what, remedy)
        self.status = status
        self.body = body


class LocalFault(JobsError):
    """Something on this machine is in the way: a taken port, no `ray` for --local, an unreadable file."""

    exit_code = EXIT_REFUSED


class Interrupted(JobsError):
    """Ctrl-C (130) or SIGTERM (143)."""

    exit_code = EXIT_INTERRUPTED

    def __init__(self, what: str, remedy: str = "", *, terminated: bool = False) -> None:
        super().__init__(what, remedy)
        self.exit_code = EXIT_TERMINATED if terminated else EXIT_INTERRUPTED

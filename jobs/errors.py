"""Every error of this package, with the exit code that it gives a command.

Each error says what happened and what to do next. The tree, and the exit code where it differs from the parent's:

    JobsError                   base of all; 1
      Refused                   the input cannot be used, or the server refuses it; nothing was submitted; 2
        Conflict                the submission id belongs to another job
        PackageTooLarge         the package is larger than the server accepts
        SourceChanged           a file changed or vanished while it was packed
        UnknownJob              the server knows no job with this id
      LocalFault                a problem of this machine, such as a taken port; 2
        LedgerFault             the local job history cannot be read
      JobFailed                 the job ended with FAILED; 1
      JobStopped                the job ended with STOPPED; 3
      JobLost                   the server accepted the job and no longer knows it; 4
      DeadlinePassed            a deadline passed; 5
      Unreachable               no answer, or no usable answer, from Ray or Kubernetes; 6
        NotAllowed              Ray or Kubernetes answered 401 or 403
          Forbidden             Kubernetes RBAC answered 403
        ServerFault             Ray answered with an error of its own, or with something that is not its API
        KubeError               the Kubernetes API server answered with an error
      NotThere                  the Kubernetes object does not exist; 6
      Interrupted               Ctrl-C (130), SIGTERM or SIGHUP (143)
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_STOPPED = 3
EXIT_LOST = 4
EXIT_DEADLINE = 5
EXIT_UNREACHABLE = 6
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
# The exit code of several jobs is the first of these that one of them has.
WORST_FIRST = (EXIT_UNREACHABLE, EXIT_LOST, EXIT_FAILED, EXIT_DEADLINE, EXIT_REFUSED, EXIT_STOPPED, EXIT_SUCCEEDED)

# The least letters of a word that counts as the beginning of another one.
LEAST_LETTERS = 3

# The command as the reader has to type it. The name of this package tells whether it is installed or a folder here.
COMMAND = "rayjobs" if __name__.startswith("rayjobs.") else "python -m jobs"


# Commands that have no target; `history` has one with --team.
_WITHOUT_TARGET = frozenset({"completion", "history", "init", "local"})
_typed_target: list[str] = []


def repeat_target(words: Iterable[str]) -> None:
    """Makes every later `command_line` name the target as it was typed, such as `--local`.

    Without it, what is pasted would go to another cluster.
    """
    _typed_target[:] = words


def command_line(arguments: str) -> str:
    """Returns a command line of this program, ready to be pasted, such as `rayjobs logs ID`."""
    if _typed_target and (arguments.split()[0] not in _WITHOUT_TARGET or "--team" in arguments):
        import shlex

        options, separator, entrypoint = arguments.partition(" -- ")
        arguments = f"{options} {shlex.join(_typed_target)}{separator}{entrypoint}"
    return f"{COMMAND} {arguments}"


def command(arguments: str) -> str:
    """Returns the command line of `command_line` in backticks, for a sentence."""
    return f"`{command_line(arguments)}`"


def number_of(number: int, noun: str) -> str:
    """Returns a number of things, such as `1 job` or `20 jobs`.

    Args:
        number: How many.
        noun: What they are, in the singular.
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def did_you_mean(word: str, words: Iterable[str], *, sentence: bool = True) -> str:
    """Returns `Did you mean A? ` for the known word that is nearest to a wrong one; empty if none is near.

    Upper and lower case, `-` and `_` make no difference. If no word is alike, the only one that is the beginning of the
    wrong word, or begins with it, is near.

    Args:
        word: The wrong word.
        words: The known words.
        sentence: Begin with a capital letter.
    """
    from difflib import get_close_matches

    known = {_letters(each): each for each in words}
    wrong = _letters(word)
    near = get_close_matches(wrong, known, n=1, cutoff=0.6)
    if not near and len(wrong) >= LEAST_LETTERS:
        beginnings = [each for each in known if len(each) >= LEAST_LETTERS]
        beginnings = [each for each in beginnings if wrong.startswith(each) or each.startswith(wrong)]
        near = beginnings if len(beginnings) == 1 else []
    return f"{'Did' if sentence else 'did'} you mean {known[near[0]]}? " if near else ""


def _letters(word: str) -> str:
    return word.casefold().replace("-", "").replace("_", "")


def worst_exit_code(codes: Iterable[int]) -> int:
    """Returns one exit code for several jobs, by WORST_FIRST."""
    given = set(codes)
    return next(code for code in WORST_FIRST if code in given)


class JobsError(Exception):
    """Base of all errors of this package. `str(error)` is the message and, on a line of its own, the remedy.

    Attributes:
        message: What happened.
        remedy: What to do next; empty if there is nothing to suggest.
        exit_code: The exit code that this error gives a command.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}\n  {remedy}" if remedy else message)

    @property
    def what(self) -> str:
        """Old name of `message`."""
        return self.message


class Refused(JobsError):
    """The input cannot be used, or the server refuses it. Nothing was submitted."""

    exit_code = EXIT_REFUSED


class Conflict(Refused):
    """A job with this submission id exists and does something else."""


class PackageTooLarge(Refused):
    """The package is larger than the server accepts."""


class SourceChanged(Refused):
    """A file of the working directory or of a module changed or vanished while it was packed.

    Attributes:
        vanished: The file no longer exists; False by default.
    """

    def __init__(self, message: str, remedy: str = "", *, vanished: bool = False) -> None:
        super().__init__(message, remedy)
        self.vanished = vanished


class UnknownJob(Refused):
    """The server knows no job with this id."""


class LocalFault(JobsError):
    """A problem of this machine: a taken port, no Ray for `local`, a file that cannot be read."""

    exit_code = EXIT_REFUSED


class LedgerFault(LocalFault):
    """The local job history (the ledger) cannot be read.

    Attributes:
        damaged: Its file is damaged; False by default.
    """

    def __init__(self, message: str, remedy: str = "", *, damaged: bool = False) -> None:
        super().__init__(message, remedy)
        self.damaged = damaged


class JobFailed(JobsError):
    """The job ended with FAILED. Raised by `Result.check()`."""

    exit_code = EXIT_FAILED


class JobStopped(JobsError):
    """The job ended with STOPPED. Raised by `Result.check()`."""

    exit_code = EXIT_STOPPED


class JobLost(JobsError):
    """The server accepted the job and no longer knows it: the head restarted without GCS fault tolerance."""

    exit_code = EXIT_LOST


class DeadlinePassed(JobsError):
    """A deadline passed, the caller's or the default. The message names what did not happen in time."""

    exit_code = EXIT_DEADLINE


class Unreachable(JobsError):
    """No answer, or no usable answer, from Ray or Kubernetes."""

    exit_code = EXIT_UNREACHABLE


class NotAllowed(Unreachable):
    """Ray or Kubernetes answered 401 or 403."""


class Forbidden(NotAllowed):
    """Kubernetes RBAC does not allow the request (HTTP 403)."""


class ServerFault(Unreachable):
    """Ray answered with an error of its own (5xx), or with something that is not its API.

    Attributes:
        status: The HTTP status, 0 if the answer could not be read.
        body: The answer as text, possibly cut.
    """

    def __init__(self, message: str, remedy: str = "", *, status: int = 0, body: str = "") -> None:
        super().__init__(message, remedy)
        self.status = status
        self.body = body


class KubeError(Unreachable):
    """The Kubernetes API server answered with an error."""


class NotThere(JobsError):
    """The Kubernetes object does not exist (HTTP 404)."""

    exit_code = EXIT_UNREACHABLE


class Interrupted(JobsError):
    """Ctrl-C (exit code 130), SIGTERM or SIGHUP (143) ended the command.

    Attributes:
        terminated: Whether it was SIGTERM or SIGHUP.
    """

    def __init__(self, message: str, remedy: str = "", *, terminated: bool = False) -> None:
        super().__init__(message, remedy)
        self.terminated = terminated
        self.exit_code = EXIT_TERMINATED if terminated else EXIT_INTERRUPTED

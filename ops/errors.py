"""Every error of this package. `python -m ops` prints the message and exits with 1.

OpsError
├── Refused           nothing was changed; the message says what stands in the way
├── CannotRender      there is nothing to render or to compare with
├── Unavailable       this machine lacks something that the command needs
├── ImageFailed       the image cannot be built
└── EngineError
    ├── EngineMissing a part of Pulumi is not on this machine
    └── EngineFailed  the Pulumi CLI ended with an error
"""

from __future__ import annotations


class OpsError(Exception):
    """The base of all errors here."""


class Refused(OpsError):
    """Nothing was changed; the message says what stands in the way."""


class CannotRender(OpsError):
    """There is nothing to render, or nothing to compare with; the message says what is missing."""


class Unavailable(OpsError):
    """This machine lacks something; the message says what, and how to get it."""


class ImageFailed(OpsError):
    """The program that builds the image ended with an error, which it has shown."""


class EngineError(OpsError):
    """The base of the errors of Pulumi's engine."""


class EngineMissing(EngineError):
    """A part of Pulumi's engine is not on this machine; the message names it."""


class EngineFailed(EngineError):
    """The Pulumi CLI ended with an error.

    Args:
        command: What was run, such as `pulumi up`.
        code: The CLI's exit code.
        output: The CLI's own words; empty where they were shown already.
    """

    def __init__(self, command: str, code: int, output: str = "") -> None:
        super().__init__(f"`{command}` ended with {code}" + (f": {output.strip()}" if output.strip() else ""))
        self.code = code

"""Errors of the program, written for the person who reads Pulumi's output.

StackError           the settings, the manifests or the cluster do not allow what the stack asks for
└── ClusterError     the Kubernetes API server cannot be reached, or it answered with an error
    └── Forbidden    the API server answered 403: this user does not have the right

A message is complete: the setting or object, what is wrong with it, what is allowed, what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence


class StackError(Exception):
    """The stack cannot be deployed as its settings describe it. The message is shown without a traceback."""


class ClusterError(StackError):
    """The Kubernetes API server cannot be reached, or it answered with an error."""


class Forbidden(ClusterError):
    """The API server answered, and this user does not have the right (HTTP 403)."""


def error_of_problems(heading: str, problems: Sequence[str]) -> StackError:
    """Returns a StackError with `heading` and all `problems`, one a line."""
    return StackError("\n".join([heading, *(f"  - {problem}" for problem in problems)]))


def refuse(heading: str, problems: Sequence[str]) -> None:
    """Raises StackError with `heading` and all `problems`, one a line; does nothing if there are none."""
    if problems:
        raise error_of_problems(heading, problems)

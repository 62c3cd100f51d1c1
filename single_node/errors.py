"""Errors of the single node, written for the person who reads them."""

from __future__ import annotations


class SingleNodeError(Exception):
    """The single node cannot be built, started or stopped. The message says what to do."""


class NotPossible(SingleNodeError):
    """This machine cannot run the single node, or lacks programs for it. Nothing was begun."""

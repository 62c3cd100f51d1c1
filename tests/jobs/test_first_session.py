"""The session of docs/first-session.md, run again: it goes as the page says."""

from __future__ import annotations

import re

import pytest

from ops.session import PAGE, record

# The lines that do not depend on how fast the machine is.
KEY = re.compile(r"(?m)^(?:\$ .+|\d+|Job \S+ (?:SUCCEEDED|FAILED) .+|Job \S+: .+|cause: .+|epoch .+|hello)$")


def key_lines(page: str) -> list[str]:
    """The lines from the first job to the list, which are the same with a local Ray and with a cluster."""
    jobs = page[page.index("$ rayjobs submit") : page.index("$ rayjobs list")]
    return [line.replace(" --local", "") for line in KEY.findall(jobs)]


def test_the_first_session_of_the_docs_goes_as_it_is_written() -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    written = key_lines(PAGE.read_text(encoding="utf-8"))
    assert len(written) > 20
    assert key_lines(record()) == written

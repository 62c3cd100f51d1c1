"""A display in a Jupyter notebook that is replaced as a job changes. IPython is used where it runs, never loaded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .spec.job_html import job_html, job_line

if TYPE_CHECKING:
    from .spec.job_info import JobInfo


class LiveDisplay:
    """One output of the cell that runs, which each `show` replaces.

    Args:
        display: IPython's function.
    """

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None
        self._last: dict[str, str] = {}

    def show(self, job: JobInfo, reason: str = "") -> None:
        """Shows the job as it is now. See job_html."""
        data = {"text/plain": job_line(job, reason), "text/html": job_html(job, reason)}
        if data == self._last:
            return
        self._last = data
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def live_display() -> LiveDisplay | None:
    """Returns a display if this process is the kernel of a notebook; otherwise None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is None:  # A terminal cannot replace an output.
        return None
    return LiveDisplay(sys.modules["IPython.display"].display)

"""The progress of a batch: a live table at a terminal, plain lines without one, or JSON lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ..batch.run import ERROR, SUBMITTING, WAITING, BatchItem
from ..spec.job_info import LOST
from ..spec.shown import redacted, visible
from .output import outcome_text
from .status_line import STATUS_LINE

if TYPE_CHECKING:
    from rich.table import Table

ROWS = 20
_GROUPS = {
    WAITING: "waiting", SUBMITTING: "waiting", "PENDING": "queued", "RUNNING": "running", "SUCCEEDED": "done",
    "FAILED": "failed", "STOPPED": "stopped", LOST: "lost", ERROR: "failed",
}  # fmt: skip
GROUPS = ("waiting", "queued", "running", "done", "failed", "stopped", "lost")


class View(Protocol):
    """Shows the jobs of a batch while they run; a context manager around the run."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def changed(self, item: BatchItem) -> None: ...


def counts(items: list[BatchItem]) -> dict[str, int]:
    """Counts the jobs in each of GROUPS."""
    numbers = Counter(_GROUPS.get(item.status, "waiting") for item in items)
    return {group: numbers[group] for group in GROUPS}


def counts_text(items: list[BatchItem]) -> str:
    """Names the groups that have jobs, with their numbers, such as `2 running, 5 done`."""
    return ", ".join(f"{number} {group}" for group, number in counts(items).items() if number) or "no jobs"


def as_json(item: BatchItem, batch: str) -> dict[str, Any]:
    """Returns the JSON line of a job. `exit_code` is null until the job is done."""
    return {
        "event": "job",
        "time": time.time(),
        "batch": batch,
        "submission_id": item.submission_id,
        "attempt": item.attempt,
        "params": dict(item.job.params),
        "status": item.status,
        "exit_code": item.exit_code,
        "driver_exit_code": item.info.driver_exit_code if item.info else None,
        "error_type": redacted(item.info.error_type) if item.info else None,
        "error": str(item.error) if item.error else None,
    }


def end_as_json(items: list[BatchItem], batch: str, exit_code: int | None) -> dict[str, Any]:
    """Returns the last JSON line, for the whole batch."""
    return {"event": "end", "time": time.time(), "batch": batch, "exit_code": exit_code, "counts": counts(items)}


class _Stateless:
    """A view that needs no beginning and no end."""

    def __enter__(self) -> _Stateless:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None


class JsonLines(_Stateless):
    """A JSON line for each change of a job."""

    def __init__(self, batch: str, write: Callable[[dict[str, Any]], None]) -> None:
        self.batch, self.write = batch, write

    def changed(self, item: BatchItem) -> None:
        if item.status not in (WAITING, SUBMITTING):
            self.write(as_json(item, self.batch))


class Lines(_Stateless):
    """A plain line for each change of a job."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write

    def changed(self, item: BatchItem) -> None:
        if item.error is not None:
            self.write(f"Job {item.submission_id}: {item.error}")
        elif item.result is not None:
            self.write(outcome_text(item.result))
        elif item.status not in (WAITING, SUBMITTING):
            self.write(f"Job {item.submission_id} is {item.status}.")


class LiveTable:
    """A table above the status line that is redrawn: the running jobs, the failed ones, and the counts of all."""

    def __init__(self, batch: str, items: Callable[[], list[BatchItem]]) -> None:
        self.batch, self.items, self.started = batch, items, time.time()
        self._shown = ExitStack()

    def __enter__(self) -> LiveTable:
        self._shown.enter_context(STATUS_LINE.table(self.table))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shown.close()

    def changed(self, item: BatchItem) -> None:
        """Does nothing: the table is redrawn twice a second."""

    def table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        items = self.items()
        elapsed = time.strftime("%H:%M:%S", time.gmtime(time.time() - self.started))
        # A Text is not read as markup: names and errors may contain brackets.
        title = Text(visible(f"{self.batch}: {counts_text(items)}, {elapsed}"))
        table = Table(title=title, title_justify="left", box=None)
        for column in ("job", "status", "seconds", ""):
            table.add_column(column, justify="right" if column == "seconds" else "left")
        shown = sorted((item for item in items if item.since), key=lambda item: (item.done, -item.since))[:ROWS]
        for item in shown:
            colour = {"RUNNING": "cyan", "SUCCEEDED": "green", "PENDING": "yellow"}.get(item.status, "")
            colour = "red" if item.status in ("FAILED", LOST, ERROR) else colour
            reason = str(item.error or (item.info.error_type if item.info else "") or item.reason).partition("\n")[0]
            age = "" if item.done else f"{time.time() - item.since:.0f}"
            cells = [(item.submission_id, ""), (item.status, colour), (age, ""), (reason, "")]
            table.add_row(*(Text(visible(text), style) for text, style in cells))
        if len(items) > len(shown):
            table.caption = f"and {len(items) - len(shown)} more"
        return table

"""The progress of a batch: a live table at a terminal, plain lines without one, or JSON lines."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ..batch.run import ERROR, SUBMITTING, WAITING, Track
from ..spec.job_info import LOST

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

    def changed(self, track: Track) -> None: ...


def counts(tracks: list[Track]) -> dict[str, int]:
    """The number of jobs in each of GROUPS."""
    numbers = Counter(_GROUPS.get(track.status, "waiting") for track in tracks)
    return {group: numbers[group] for group in GROUPS}


def counts_text(tracks: list[Track]) -> str:
    """The groups that have jobs, such as `2 running, 5 done`."""
    return ", ".join(f"{number} {group}" for group, number in counts(tracks).items() if number) or "no jobs"


def as_json(track: Track, batch: str) -> dict[str, Any]:
    """The JSON line of a job. `exit_code` is null until the job is done."""
    return {
        "event": "job",
        "time": time.time(),
        "batch": batch,
        "submission_id": track.submission_id,
        "attempt": track.attempt,
        "params": dict(track.job.params),
        "status": track.status,
        "exit_code": track.exit_code,
        "driver_exit_code": track.info.driver_exit_code if track.info else None,
        "error_type": track.info.error_type if track.info else None,
        "error": str(track.error) if track.error else None,
    }


def end_as_json(tracks: list[Track], batch: str, exit_code: int | None) -> dict[str, Any]:
    """The last JSON line, for the whole batch."""
    return {"event": "end", "time": time.time(), "batch": batch, "exit_code": exit_code, "counts": counts(tracks)}


class _Stateless:
    """A view that needs no beginning and no end."""

    def __enter__(self) -> _Stateless:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None


class JsonLines(_Stateless):
    """A JSON line for each change of a job."""

    def __init__(self, batch: str, write: Callable[[str], None]) -> None:
        self.batch, self.write = batch, write

    def changed(self, track: Track) -> None:
        if track.status not in (WAITING, SUBMITTING):
            self.write(json.dumps(as_json(track, self.batch)))


class Lines(_Stateless):
    """A plain line for each change of a job."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write

    def changed(self, track: Track) -> None:
        if track.error is not None:
            self.write(f"Job {track.submission_id}: {track.error}")
        elif track.status not in (WAITING, SUBMITTING):
            self.write(f"Job {track.submission_id} is {track.status}.")


class LiveTable:
    """A table on stderr that is redrawn: the running jobs, the failed ones, and the counts of all."""

    def __init__(self, batch: str, tracks: Callable[[], list[Track]]) -> None:
        from rich.console import Console
        from rich.live import Live

        self.batch, self.tracks, self.started = batch, tracks, time.time()
        console = Console(stderr=True)
        self._live = Live(get_renderable=self.table, console=console, refresh_per_second=2, transient=False)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def changed(self, track: Track) -> None:
        """Nothing to do: the table is redrawn twice a second."""

    def table(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        tracks = self.tracks()
        elapsed = time.strftime("%H:%M:%S", time.gmtime(time.time() - self.started))
        table = Table(title=f"{self.batch}: {counts_text(tracks)}, {elapsed}", title_justify="left", box=None)
        for column in ("job", "status", "seconds", ""):
            table.add_column(column, justify="right" if column == "seconds" else "left")
        shown = sorted((track for track in tracks if track.since), key=lambda track: (track.done, -track.since))[:ROWS]
        for track in shown:
            colour = {"RUNNING": "cyan", "SUCCEEDED": "green", "PENDING": "yellow"}.get(track.status, "")
            colour = "red" if track.status in ("FAILED", LOST, ERROR) else colour
            reason = str(track.error or (track.info.error_type if track.info else "") or "").partition("\n")[0]
            age = "" if track.done else f"{time.time() - track.since:.0f}"
            status = f"[{colour}]{track.status}[/]" if colour else track.status
            table.add_row(escape(track.submission_id), status, age, escape(reason))
        if len(tracks) > len(shown):
            table.caption = f"and {len(tracks) - len(shown)} more"
        return table

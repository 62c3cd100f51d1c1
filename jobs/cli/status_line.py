"""The status line on stderr: what the command waits for or works on.

At a terminal it is one line that is replaced, with a spinner or a bar. Elsewhere a plain line comes after two seconds,
and another one when something has changed. Everything that is printed goes through `hidden`, so that no text is mixed
with the line.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import click

from ..spec.shown import visible
from .terminal import at_terminal, in_colour

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.spinner import Spinner

    from ..activity import Activity
    from ..deadline import Deadline

# Seconds until an activity is shown: at a terminal, and as a plain line.
TERMINAL_SECONDS, PLAIN_SECONDS = 0.5, 2.0
# Seconds between two plain lines: about progress, about a wait whose state changes, and about the same wait again.
PROGRESS_SECONDS = {"bytes": 5.0, "jobs": 30.0}
CHANGE_SECONDS, REPEAT_SECONDS = 10.0, 60.0
# Seconds without output of the job until the line is drawn below it.
SILENT_SECONDS = 1.0
TICK_SECONDS = 0.1
TABLE_SECONDS = 0.5
BAR_WIDTH = 16


def _may_reach_terminal(stream: BinaryIO) -> bool:
    """Returns whether a terminal may show the stream: it is one, or a pipe, such as to `tee`."""
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # It has no file descriptor.
        return False


class StatusLine:
    """Shows the newest activity of this process; a Listener of jobs.activity.

    Attributes:
        quiet: Nothing is shown.
    """

    def __init__(self) -> None:
        self.quiet = False
        self._lock = threading.RLock()
        self._busy = threading.Event()
        self._ticker: threading.Thread | None = None
        self._activities: list[Activity] = []
        self._lines: dict[Activity, tuple[float, str]] = {}  # The last plain line of each, and when it came.
        self._texts: dict[str, float] = {}  # When each text came last.
        self._live: Live | None = None
        self._spinner: Spinner | None = None
        self._table: Callable[[], RenderableType] | None = None
        self._table_drawn = 0.0
        self._not_before = 0.0
        self._in_a_line = False

    def started(self, activity: Activity) -> None:
        with self._lock:
            self._activities.append(activity)
            self._start()

    def ended(self, activity: Activity) -> None:
        with self._lock:
            self._activities.remove(activity)
            self._lines.pop(activity, None)
            if not self._activities and self._table is None:
                self._busy.clear()
                self._erase()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Takes the line away while something is printed to stderr."""
        with self._lock:
            self._erase()
            if self._in_a_line and at_terminal(sys.stderr):
                click.echo(err=True)
            self._in_a_line = False
            self._not_before = time.monotonic() + TERMINAL_SECONDS
            yield

    @contextmanager
    def hidden_for(self, data: bytes, stream: BinaryIO) -> Iterator[None]:
        """Takes the line away while a piece of the job's output is written, and until it pauses at the end of a line.

        Args:
            data: The piece.
            stream: Where it is written to.
        """
        with self._lock:
            if _may_reach_terminal(stream):
                self._erase()
                self._in_a_line = not data.endswith(b"\n")
                self._not_before = time.monotonic() + SILENT_SECONDS
            yield

    @contextmanager
    def table(self, table: Callable[[], RenderableType]) -> Iterator[None]:
        """Draws a table above the line until the end of the context. Its last state stays."""
        with self._lock:
            self._table = table
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._table = None
                self._erase()
                if not self._activities:
                    self._busy.clear()
                if not self.quiet:
                    self._console().print(table())

    def _start(self) -> None:
        if self.quiet:
            return
        self._busy.set()
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        while True:
            self._busy.wait()
            time.sleep(TICK_SECONDS)
            try:
                with self._lock:
                    self._draw()
            except (OSError, ValueError):  # stderr is closed.
                self.quiet = True
                return

    def _draw(self) -> None:
        if self.quiet:
            return
        if not at_terminal(sys.stderr) or any(each.plain for each in self._activities):
            self._erase()
            self._print_line()
        elif not self._in_a_line and time.monotonic() >= self._not_before:
            self._draw_live()

    def _newest(self, seconds: float) -> Activity | None:
        """Returns the newest activity of at least this age. One beside another program goes before all others."""
        activities = [each for each in self._activities if each.plain] or self._activities
        return next((each for each in reversed(activities) if each.text and each.seconds >= seconds), None)

    def _print_line(self) -> None:
        activity, now = self._newest(PLAIN_SECONDS), time.monotonic()
        if activity is None:
            return
        if now < self._not_before or not self._is_due(activity, now):
            return
        self._lines[activity] = now, activity.detail
        self._texts[activity.text] = now
        click.echo(visible(plain_text(activity)), err=True)

    def _is_due(self, activity: Activity, now: float) -> bool:
        """Returns whether the plain line of an activity tells something new."""
        at, detail = self._lines.get(activity, (activity.began, None))
        if activity.total is not None:
            return now - at >= PROGRESS_SECONDS[activity.unit]
        if detail is not None:
            return activity.detail != detail and now - at >= CHANGE_SECONDS
        if activity.announced and not activity.detail and not until_text(activity.until):
            return False
        again = self._texts.get(activity.text)
        return again is None or now - again >= REPEAT_SECONDS

    def _draw_live(self) -> None:
        activity, now = self._newest(TERMINAL_SECONDS), time.monotonic()
        if activity is None and self._table is None:
            self._erase()
            return
        if self._table is not None and now - self._table_drawn < TABLE_SECONDS:
            return
        self._table_drawn = now
        parts = [self._table()] if self._table is not None else []
        if activity is not None:
            parts.append(self._row(activity))
        from rich.console import Group
        from rich.live import Live

        if self._live is None:
            self._live = Live(
                console=self._console(),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(Group(*parts), refresh=True)

    def _row(self, activity: Activity) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        if self._spinner is None:
            self._spinner = Spinner("dots" if "utf" in (sys.stderr.encoding or "").lower() else "line")
        row = Table.grid(padding=(0, 1))
        style = "dim" if in_colour(sys.stderr) else ""
        # A Text is not read as markup: names and errors may contain brackets.
        text = Text(visible(live_text(activity)), style)
        row.add_column(min_width=1)
        row.add_column(no_wrap=True, overflow="ellipsis")  # Of a narrow terminal, this column gets the rest.
        if activity.total is None:
            row.add_row(self._spinner, text)
        else:
            bar = ProgressBar(total=max(1, activity.total), completed=activity.done, width=BAR_WIDTH)
            amounts = Text(", ".join(progress_parts(activity)), style)
            row.add_column(min_width=BAR_WIDTH)
            row.add_column(no_wrap=True, min_width=len(amounts))
            row.add_row(self._spinner, text, bar, amounts)
        return row

    def _erase(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _console(self) -> Console:
        from rich.console import Console

        return Console(file=sys.stderr, force_jupyter=False, no_color=not in_colour(sys.stderr))


STATUS_LINE = StatusLine()


def live_text(activity: Activity) -> str:
    """Returns the line at a terminal, such as `Waiting for X: refused (12 s, until 10:15:30)`; a bar has no times."""
    if activity.total is not None:
        return _with_detail(activity)
    times = [duration(activity.seconds), *([until] if (until := until_text(activity.until)) else [])]
    return f"{_with_detail(activity)} ({', '.join(times)})"


def plain_text(activity: Activity) -> str:
    """Returns the plain line, such as `Waiting for X: refused; until 10:15:30 (48 s).`"""
    if activity.total is not None:
        amount, *rest = progress_parts(activity)
        percentage = 100 * activity.done // max(1, activity.total)
        return f"{activity.text}: {', '.join([f'{amount} ({percentage} %)', *rest])}."
    text, until = _with_detail(activity), until_text(activity.until)
    if until and activity.until is not None:
        return f"{text}; {until} ({duration(activity.until.left)})."
    return f"{text}." if activity.until is None else f"{text}; no time limit."


def _with_detail(activity: Activity) -> str:
    detail = " ".join(activity.detail.split()).rstrip(".")
    return f"{activity.text}: {detail}" if detail else activity.text


def until_text(deadline: Deadline | None) -> str:
    """Returns the time of day of a deadline; empty if it never comes."""
    if deadline is None or deadline.left == float("inf"):
        return ""
    return f"until {time.strftime('%H:%M:%S', time.localtime(time.time() + deadline.left))}"


def progress_parts(activity: Activity) -> list[str]:
    """Returns how far an activity is, and then, if it has begun and not ended, its rate and the time left."""
    done, total = activity.done, activity.total or 0
    if activity.unit == "bytes":
        amount, unit, scale = f"{mib(done)} of {mib(total)} MiB", "MiB/s", 1 / 1024**2
    else:
        amount, unit, scale = f"{done} of {total} {activity.unit}", f"{activity.unit}/min", 60.0
    if not 0 < done < total:
        return [amount]
    rate = done / max(activity.seconds, 0.001)
    return [amount, f"{rate * scale:.1f} {unit}", f"{duration((total - done) / rate)} left"]


def mib(size: float) -> str:
    """Returns a size in MiB, with one digit."""
    return f"{size / 1024**2:.1f}"


def duration(seconds: float) -> str:
    """Returns a time for a sentence: `12 s`, `3 min 20 s` or `2 h 5 min`. Tables have the shorter `show_duration`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {minutes} min" if (minutes := whole % 3600 // 60) else "")

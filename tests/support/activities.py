"""A listener that keeps what the library waits for."""

from __future__ import annotations

from jobs.activity import Activity


class Record:
    """Attributes: `activities` are all that began, in their order."""

    def __init__(self) -> None:
        self.activities: list[Activity] = []

    def started(self, activity: Activity) -> None:
        self.activities.append(activity)

    def ended(self, activity: Activity) -> None:
        pass

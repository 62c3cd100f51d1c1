"""Asks why jobs fail, are lost or wait, at the time when it can still be found out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..connection import Connection
from ..diagnose.evidence import gather_from
from ..diagnose.pending import PAUSE_FACTOR
from ..diagnose.why import explain
from ..errors import JobsError, UnknownJob
from .store import Store

# A question that waits for so long is dropped: the answer would be about another state of the cluster.
LATEST_SECONDS = 600.0
# If more jobs fail at once, the last ones are explained.
MOST_QUESTIONS = 100
AGAIN_SECONDS = 5.0


@dataclass(frozen=True)
class _Question:
    """`before` is the status of a lost job when it was seen last."""

    asked_at: float
    before: str | None


class WhyRecorder:
    """Answers one question at a time, and pauses so that Ray has time for other requests.

    Args:
        connection: The cluster.
        store: Where the answers are recorded.
        is_silent: Whether Ray answers nothing now.
    """

    def __init__(self, connection: Connection, store: Store, is_silent: Callable[[], bool]) -> None:
        self._connection = connection
        self._store = store
        self._is_silent = is_silent
        self._questions: dict[str, _Question] = {}
        self._has_question = asyncio.Event()

    def ask(self, submission_id: str, before: str | None = None) -> None:
        """Asks why the job is as it is.

        Args:
            submission_id: The job.
            before: Of a lost job, the status when it was seen last.
        """
        self._questions.pop(submission_id, None)
        self._questions[submission_id] = _Question(time.monotonic(), before)
        for oldest in list(self._questions)[:-MOST_QUESTIONS]:
            del self._questions[oldest]
        self._has_question.set()

    async def run(self) -> None:
        """Answers until it is cancelled."""
        while True:
            await self._has_question.wait()
            began = time.monotonic()
            if self._is_silent() or not await self._answer_next():
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                await asyncio.sleep(PAUSE_FACTOR * (time.monotonic() - began))

    async def _answer_next(self) -> bool:
        """Answers the oldest question. Returns whether it was answered."""
        now = time.monotonic()
        for submission_id, question in list(self._questions.items()):
            if now - question.asked_at > LATEST_SECONDS:
                del self._questions[submission_id]
        if not self._questions:
            self._has_question.clear()
            return True
        submission_id, question = next(iter(self._questions.items()))
        is_answered = await self._answer(submission_id, question.before)
        if self._questions.get(submission_id) is question:
            del self._questions[submission_id]
            if not is_answered:
                self._questions[submission_id] = question  # Again, after the others.
        return is_answered

    async def _answer(self, submission_id: str, before: str | None) -> bool:
        """Records why the job is as it is. Returns whether the question is settled."""
        try:
            evidence = await gather_from(self._connection, submission_id)
            evidence.in_ledger = before
            if not evidence.ray_reached:
                return False
            findings = [{"kind": each.kind, "text": each.text, "remedy": each.remedy} for each in explain(evidence)]
            await self._store.run(lambda keeping: keeping.record_why(submission_id, findings))
        except UnknownJob:
            return True  # It was removed meanwhile.
        except JobsError:
            return False
        except Exception:  # Whatever Ray and Kubernetes answer, the keeper goes on.
            return True
        return True

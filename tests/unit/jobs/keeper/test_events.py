"""The stream of events, over a real HTTP server: resumed where it broke, and with nothing twice."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from jobs.keeper.web.pages import job_path
from jobs.keeper.web.serve import bound_socket
from tests.support.keeper_page import TOKEN, Page, job, serving

HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def url(page: Page) -> Iterator[str]:
    with serving(page.app) as url:
        yield url


@contextmanager
def reading(url: str, query: str = "", **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    with httpx.stream("GET", f"{url}/v1/events{query}", headers={**HEADERS, **headers}, timeout=20) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        yield events_of(lines)


def events_of(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    number = None
    for line in lines:
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        if line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            assert event["seq"] == number
            yield event


def take(events: Iterator[dict[str, Any]], number: int) -> list[tuple[str | None, str]]:
    return [(event["submission_id"], event["kind"]) for _, event in zip(range(number), events, strict=False)]


def test_only_what_happens_from_now_on_is_sent_and_once(page: Page, url: str) -> None:
    page.keep(job("before"))
    with reading(url) as events:
        for submission_id in ("first", "second", "third"):
            page.keep(job(submission_id))
            assert take(events, 1) == [(submission_id, "status")]


def test_a_reader_resumes_after_the_last_event_that_it_has(page: Page, url: str) -> None:
    page.keep(*(job(f"job-{n}", start=1_000_000 + n) for n in range(5)))
    with reading(url, "?after=0") as events:
        first = [next(events) for _ in range(4)]
    assert [event["kind"] for event in first] == ["keeper_started", "status", "status", "status"]
    with reading(url, "?after=0", **{"Last-Event-ID": str(first[-1]["seq"])}) as events:
        assert take(events, 2) == [("job-3", "status"), ("job-4", "status")]


def test_events_are_filtered_by_job_and_kind(page: Page, url: str) -> None:
    page.keep(job("a", start=1), job("b", start=2), logs={"a": b"x", "b": b"x"})
    with reading(url, "?after=0&job=b&kind=status&kind=log") as events:
        assert take(events, 2) == [("b", "status"), ("b", "log")]
    with reading(url, "?after=0&kind=log") as events:
        assert take(events, 2) == [("a", "log"), ("b", "log")]


@pytest.mark.parametrize("last", ["999999", "9" * 400])
def test_a_reader_of_another_database_is_told_that_it_missed_events(page: Page, url: str, last: str) -> None:
    with reading(url, "?kind=status", **{"Last-Event-ID": last}) as events:
        page.keep(job("a"))
        assert take(events, 2) == [(None, "missed"), ("a", "status")]


@pytest.mark.parametrize("query", ["?after=x", "?after=-1", "?after=1.5"])
def test_a_number_that_is_none_is_refused(url: str, query: str) -> None:
    assert httpx.get(f"{url}/v1/events{query}", headers=HEADERS).status_code == 400


def test_a_stream_that_ended_is_no_longer_counted(page: Page, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.keeper.web.api.MOST_STREAMS", 1)
    monkeypatch.setattr("jobs.keeper.web.events.POLL_SECONDS", 0.05)
    with reading(url):
        answer = httpx.get(f"{url}/v1/events", headers=HEADERS)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    for _ in range(200):
        with httpx.stream("GET", f"{url}/v1/events", headers=HEADERS) as answer:
            if answer.status_code == 200:
                return
    pytest.fail("the stream that ended is still counted")


def test_a_silent_stream_shows_that_it_lives(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.keeper.web.events.BEAT_SECONDS", 0.0)
    monkeypatch.setattr("jobs.keeper.web.events.POLL_SECONDS", 0.01)
    with httpx.stream("GET", f"{url}/v1/events", headers=HEADERS, timeout=20) as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(3)][2] == ": the stream lives"


def test_an_id_is_quoted_as_a_whole(page: Page, url: str) -> None:
    page.keep(job("a/b?c#d%2F"))
    answer = httpx.get(f"{url}/v1{job_path('a/b?c#d%2F')}", headers=HEADERS)
    assert answer.json()["submission_id"] == "a/b?c#d%2F"


def test_the_server_sends_each_answer_at_once() -> None:
    with bound_socket() as bound:
        assert (bound.proto, bound.getsockname()[0]) == (socket.IPPROTO_TCP, "127.0.0.1")


def test_the_server_says_nothing_of_itself_and_does_not_believe_who_asks(url: str) -> None:
    answer = httpx.get(f"{url}/", headers={"x-forwarded-for": "127.0.0.1", "x-forwarded-host": "evil"})
    assert answer.status_code == 401
    assert "server" not in answer.headers

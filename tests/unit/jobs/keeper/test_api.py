"""The API: jobs, logs and metrics as data, over a real folder of a keeper."""

from __future__ import annotations

import random

import pytest
from starlette.testclient import TestClient

from jobs.spec.job_info import JobInfo
from tests.support.keeper_page import PLACE, TOKEN, Page, failed, job
from tests.unit.jobs.keeper.conftest import ask, client_of

LOG = bytes(random.Random(16).randbytes(700_000))


@pytest.fixture
def log(page: Page, program: TestClient):  # type: ignore[no-untyped-def]
    page.keep(job("a", seconds=1), logs={"a": LOG})

    def get(**headers: str):  # type: ignore[no-untyped-def]
        return program.get("/v1/jobs/a/log", headers={name.replace("_", "-"): value for name, value in headers.items()})

    return get


def ids(answer) -> list[str]:  # type: ignore[no-untyped-def]
    assert answer.status_code == 200, answer.text
    return [each["submission_id"] for each in answer.json()["jobs"]]


def test_jobs_are_filtered_by_status_user_name_time_and_text(page: Page, program: TestClient) -> None:
    page.keep(
        job("one", start=1_000_000, user="ada", metadata={"name": "nightly"}),
        failed("two", start=2_000_000, user="grace"),
        job("three", "RUNNING", start=3_000_000, user="ada", entrypoint="python 100%_done.py"),
    )
    cases = {
        "": ["three", "two", "one"],
        "status=FAILED": ["two"],
        "status=failed,running": ["three", "two"],
        "status=FAILED&status=RUNNING": ["three", "two"],
        "user=ada": ["three", "one"],
        "name=nightly": ["one"],
        "name=tw": ["two"],
        "since=1970-01-15T00:00:00Z&until=1970-02-01T00:00:00Z": ["two"],
        "since=1h": [],
        "search=COLUMNS": ["two"],
        "search=100%25_d": ["three"],
        "search=100x_d": [],
        "user=&name=&search=&since=&status=": ["three", "two", "one"],
        "user=ada' OR '1'='1": [],
    }
    assert {query: ids(program.get(f"/v1/jobs?{query}")) for query in cases} == cases


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("status=BROKEN", "status"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("limit=-1", "limit"),
        ("limit=" + "9" * 300, "limit"),
        ("cursor=x", "cursor"),
        ("cursor=nan_1_2", "cursor"),
        ("search=" + "x" * 501, "search"),
    ],
)
def test_a_filter_that_is_not_possible_is_refused_with_its_name(program: TestClient, query: str, word: str) -> None:
    answer = program.get(f"/v1/jobs?{query}")
    assert answer.status_code == 400
    assert word in answer.json()["error"]
    assert answer.json()["remedy"]


def test_a_thousand_jobs_are_paged_with_each_job_once(page: Page, program: TestClient) -> None:
    page.keep(*(job(f"job-{n:04}", start=1_000_000 + n // 10) for n in range(1000)))
    seen, cursor = [], ""
    while cursor is not None:
        answer = program.get("/v1/jobs", params={"limit": 70, "cursor": cursor})
        seen += ids(answer)
        cursor = answer.json()["cursor"]
        if len(seen) == 70:  # A job that begins meanwhile moves none to another page.
            page.keep(
                *(job(f"job-{n:04}", start=1_000_000 + n // 10) for n in range(1000)), job("new", start=2_000_000)
            )
    assert len(seen) == len(set(seen)) == 1000
    assert seen[0][:7] == "job-099"


def test_a_job_has_its_changes_its_reason_and_no_secret(page: Page, program: TestClient) -> None:
    waits = job(
        "a", "PENDING", entrypoint="API_KEY=sk-aaaabbbbccccddddeeee python x.py", metadata={"password": "hunter2x"}
    )
    page.keep(waits)
    page.keep(waits._replace(status="FAILED", end_time=1_700_000_060_000, driver_exit_code=3, message="boom"))
    answer = program.get("/v1/jobs/a").json()
    assert [change["status"] for change in answer["changes"]] == ["PENDING", "FAILED"]
    assert (answer["driver_exit_code"], answer["reason"]) == (3, "Its program failed: boom")
    assert "hunter2x" not in str(answer)
    assert "sk-aaaa" not in str(answer)


HOSTILE = [
    "<script>alert(1)</script>",
    "a/b",
    "a/log",
    "a b?c#d",
    "../../etc",
    "javascript:alert(1)",
    "日本",
    "a\x00b",
    "'\";--",
]


@pytest.mark.parametrize("submission_id", HOSTILE)
def test_a_job_is_found_whatever_characters_its_id_has(page: Page, program: TestClient, submission_id: str) -> None:
    page.keep(job(submission_id), logs={submission_id: b"its log"})
    from jobs.keeper.web.pages import job_path

    path = "/v1" + job_path(submission_id)
    if submission_id != "a/log":  # The log of `a` has the same path.
        assert program.get(path).json()["submission_id"] == submission_id
    answer = program.get(f"{path}/log?download")
    assert answer.content == b"its log"
    name = answer.headers["content-disposition"]
    assert name.isascii()
    assert name.count('"') == 2
    assert not set(name) & set("/\\<>\r\n;'") - {";"}


@pytest.mark.parametrize("path", ["/v1/jobs/none", "/v1/jobs/none/log", "/v1/none", "/v1/jobs/"])
def test_what_is_not_kept_is_not_found(program: TestClient, path: str) -> None:
    answer = program.get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "remedy"}


def test_a_job_without_a_log_says_so(page: Page, program: TestClient) -> None:
    page.keep(job("a"))
    assert "No log" in program.get("/v1/jobs/a/log").json()["error"]


def test_the_log_is_the_bytes_of_the_job_and_never_a_page(log) -> None:  # type: ignore[no-untyped-def]
    answer = log()
    assert (answer.status_code, answer.content) == (200, LOG)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(LOG))


def test_every_range_has_exactly_its_bytes(log) -> None:  # type: ignore[no-untyped-def]
    chance = random.Random(1)
    edges = [0, 1, 262_143, 262_144, 262_145, len(LOG) - 1]
    ranges = [(start, stop) for start in edges for stop in edges if start <= stop]
    ranges += [tuple(sorted(chance.sample(range(len(LOG)), 2))) for _ in range(30)]  # type: ignore[misc]
    for first, last in ranges:
        answer = log(range=f"bytes={first}-{last}")
        assert (answer.status_code, answer.content) == (206, LOG[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(LOG)}"
        assert answer.headers["content-length"] == str(last - first + 1)
    assert log(range="bytes=-5").content == LOG[-5:]
    assert log(range="bytes=699990-").content == LOG[699_990:]
    assert log(range=f"bytes=0-{10**15}").content == LOG


@pytest.mark.parametrize("header", ["bytes=700000-", "bytes=-0", "bytes=999999999-"])
def test_a_range_after_the_end_is_refused_with_the_size(log, header: str) -> None:  # type: ignore[no-untyped-def]
    answer = log(range=header)
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(LOG)}")


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "lines=1-2", "bytes=5-2", "bytes", "bytes=x-"])
def test_a_header_that_is_no_single_range_gives_the_whole_log(log, header: str) -> None:  # type: ignore[no-untyped-def]
    assert log(range=header).status_code == 200


def test_a_log_that_did_not_change_is_not_sent_again(log) -> None:  # type: ignore[no-untyped-def]
    etag = log().headers["etag"]
    for header in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = log(if_none_match=header)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert log(if_none_match='"x"').status_code == 200
    assert log(range="bytes=0-1", if_range=etag).status_code == 206
    assert log(range="bytes=0-1", if_range='"x"').status_code == 200


def test_a_log_that_grew_has_another_tag_and_the_range_has_the_new_bytes(page: Page, program: TestClient) -> None:
    page.keep(job("a", "RUNNING"))
    tags = []
    for data in (b"one\n", b"two\n"):
        page.keeping.append_log("a", data)
        page.keeping.flush()
        tags.append(program.get("/v1/jobs/a/log").headers["etag"])
    assert tags[0] != tags[1]
    assert program.get("/v1/jobs/a/log", headers={"range": "bytes=4-"}).content == b"two\n"


def test_an_id_that_is_used_again_has_another_tag(page: Page, program: TestClient) -> None:
    page.keep(job("a", start=1_000_000), logs={"a": b"log"})
    first = program.get("/v1/jobs/a/log").headers["etag"]
    page.keep(job("a", start=2_000_000), logs={"a": b"log"})
    assert program.get("/v1/jobs/a/log").headers["etag"] != first


def test_head_has_the_headers_of_get_and_no_bytes(log, page: Page, program: TestClient) -> None:  # type: ignore[no-untyped-def]
    answer, same = program.head("/v1/jobs/a/log"), log()
    assert answer.content == b""
    for name in ("content-length", "etag", "content-type", "accept-ranges"):
        assert answer.headers[name] == same.headers[name]
    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())]
    sent = ask(page, {"type": "http", "method": "HEAD", "path": "/v1/jobs/a/log", "headers": headers})
    assert [message.get("body", b"") for message in sent] == [b"", b""]


def test_a_log_with_a_gap_says_what_is_missing(tmp_path, page: Page) -> None:  # type: ignore[no-untyped-def]
    from jobs.ledger.keeping import Keeping, Limits

    page.keeping.close()
    page.keeping = Keeping(page.kept.directory, PLACE, Limits(log_bytes=1024 * 1024))
    data = b"".join(b"%09d\n" % n for n in range(400_000))
    page.keep(job("a"), logs={"a": data})
    extent = page.kept.log_extent("a")
    assert extent is not None
    assert extent.gap is not None
    start, stop = extent.gap
    program = client_of(page, authorization=f"Bearer {TOKEN}")
    whole = program.get("/v1/jobs/a/log")
    notice = f"\n[rayjobs: {stop - start} bytes of this log are not kept: {start} to {stop - 1}]\n".encode()
    assert whole.content == data[:start] + notice + data[stop:]
    assert whole.headers["rayjobs-log-gap"] == f"{start}-{stop - 1}"
    assert "etag" not in whole.headers

    def get(first: int, last: int):  # type: ignore[no-untyped-def]
        return program.get("/v1/jobs/a/log", headers={"range": f"bytes={first}-{last}"})

    over = get(start - 5, stop + 5)
    assert (over.content, over.headers["content-range"]) == (
        data[start - 5 : start],
        f"bytes {start - 5}-{start - 1}/{len(data)}",
    )
    assert get(start, stop + 5).content == data[stop : stop + 6]
    assert get(start, stop - 1).status_code == 416
    assert get(stop, stop + 9).content == data[stop : stop + 10]


def test_health_says_what_does_not_work(page: Page, stranger: TestClient) -> None:
    from dataclasses import replace

    from jobs.keeper.web.app import create_app
    from jobs.keeper.web.cluster_view import KeeperState

    assert stranger.get("/healthz").json() == {"status": "ok", "problems": []}
    full = create_app(replace(page.served, state=lambda: KeeperState(12.0, ("The disk is full.",))))
    answer = TestClient(full, "http://localhost").get("/healthz")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["The disk is full."])


def test_metrics_count_jobs_by_status_and_durations_of_those_that_end(page: Page, program: TestClient) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    def samples() -> dict[tuple[str, ...], float]:
        answer = program.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = text_string_to_metric_families(answer.text)
        return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}

    def steps(name: str, *ends: str) -> list[JobInfo]:
        return [job(name, status, start=1_000_000.0, seconds=100.0) for status in ("PENDING", "RUNNING", *ends)]

    for each in steps("before", "SUCCEEDED"):
        page.keep(each)
    first = samples()
    assert first["rayjobs_kept_jobs", "SUCCEEDED"] == 1
    assert first["rayjobs_job_queue_seconds_count",] == 0
    for each in steps("after", "FAILED"):
        page.keep(each)
    page.keep(*steps("after", "FAILED")[-1:], *steps("runs")[-1:], logs={"after": b"x" * 100})
    second = samples()
    assert second["rayjobs_kept_jobs", "FAILED"] == second["rayjobs_kept_jobs", "RUNNING"] == 1
    assert second["rayjobs_job_queue_seconds_count",] == 1
    assert second["rayjobs_job_run_seconds_count", "FAILED"] == 1
    assert second["rayjobs_kept_log_bytes",] > 0
    assert samples() == second


def test_a_histogram_has_each_duration_in_the_buckets_above_it() -> None:
    from jobs.keeper.web.cluster_view import KeeperState
    from jobs.keeper.web.metrics import Histogram, metrics_text

    histogram = Histogram()
    for seconds in (0.5, 1.0, 30.0, 10**7):
        histogram.observe(seconds)
    text = metrics_text({'odd"\n\\': 1}, histogram, {}, 7, KeeperState(2.5))
    for line in (
        'rayjobs_job_queue_seconds_bucket{le="1"} 2',
        'rayjobs_job_queue_seconds_bucket{le="60"} 3',
        'rayjobs_job_queue_seconds_bucket{le="604800"} 3',
        'rayjobs_job_queue_seconds_bucket{le="+Inf"} 4',
        "rayjobs_job_queue_seconds_count 4",
        'rayjobs_kept_jobs{status="odd\\"\\n\\\\"} 1',
        "rayjobs_keeper_behind_seconds 2.5",
    ):
        assert line in text.splitlines()

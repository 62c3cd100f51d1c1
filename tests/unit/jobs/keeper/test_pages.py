"""The pages: what a person finds, that they work without JavaScript, and that nothing of others is HTML."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import quote, urljoin

import pytest
from starlette.testclient import TestClient

from jobs.keeper.web.pages import job_path
from jobs.ledger.keeping import Keeping, Limits
from tests.support.keeper_page import PLACE, TRACEBACK, Page, failed, fill, job

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;\x1b[31m\u202e"
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "body",
        "a",
        "header",
        "nav",
        "main",
        "p",
        "h1",
        "h2",
        "h3",
        "span",
    ),
    *(
        "form",
        "label",
        "input",
        "select",
        "option",
        "datalist",
        "button",
        "div",
        "section",
        "ul",
        "ol",
        "li",
        "b",
        "br",
    ),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "time", "code", "pre", "dl", "dt", "dd", "mark"),
}
VOID = {"meta", "link", "input", "br"}


class Reader(HTMLParser):
    """The elements of a page. Fails if they are not nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [attrs for each, attrs in self.elements if each == tag and wanted.items() <= attrs.items()]


def read(client: TestClient, path: str, status: int = 200) -> Reader:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Reader(answer.text)


@pytest.fixture
def full(page: Page) -> Page:
    fill(page)
    return page


PATHS = ["/", "/?status=FAILED", "/cluster", "/jobs/raysubmit_failed", "/jobs/raysubmit_runs", "/jobs/raysubmit_waits",
         "/jobs/raysubmit_0000", "/jobs/raysubmit_0000?find=line+29", "/jobs/none", "/nothing", "/?since=never",
         job_path("<script>alert(1)</script>"), "/open?key=wrong"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_written_so_that_everybody_can_use_it(full: Page, browser: TestClient, path: str) -> None:
    page = Reader(browser.get(path).text)
    assert {tag for tag, _ in page.elements} <= TAGS
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("main")) == len(page.all("h1")) == len(page.all("title")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = Counter(attrs["id"] for _, attrs in page.elements if "id" in attrs)
    assert [name for name, number in ids.items() if number > 1] == []
    labels = {attrs.get("for") for attrs in page.all("label")}
    for tag in ("input", "select"):
        assert all(attrs["id"] in labels for attrs in page.all(tag))
    for tag in ("section", "nav", "form"):
        names = [attrs.get("aria-label") or attrs.get("aria-labelledby") for attrs in page.all(tag)]
        assert all(names)
        assert len(names) == len(set(names))
    assert all(attrs["aria-labelledby"] in ids for attrs in page.all("section"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    assert page.all("a")[0] == {"class": "skip", "href": "#main"}
    # A name needs a role that may have one.
    named = [
        (tag, attrs) for tag, attrs in page.elements if "aria-label" in attrs and tag in ("div", "pre", "span", "p")
    ]
    assert all("role" in attrs for _, attrs in named)


@pytest.mark.parametrize("path", PATHS)
def test_a_page_asks_no_other_host_and_has_no_script_inside(full: Page, browser: TestClient, path: str) -> None:
    page = Reader(browser.get(path).text)
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action"):
            if name in attrs:
                assert urljoin("http://here/x", attrs[name] or "").startswith("http://here/"), attrs
    assert [attrs.get("src") for attrs in page.all("script")] == ["/static/app.js"]


@pytest.mark.parametrize("path", PATHS)
def test_every_link_of_a_page_works(full: Page, browser: TestClient, path: str) -> None:
    page = Reader(browser.get(path).text)
    for link in {attrs["href"] for attrs in page.all("a") + page.all("link")}:
        if link != "#main":
            target = urljoin(f"http://127.0.0.1:8000{path}", link).partition("#")[0]
            assert browser.get(target).status_code in ((200,) if path != "/nothing" else (200, 404)), link


def test_texts_of_others_are_text_everywhere(page: Page, browser: TestClient) -> None:
    metadata = {"name": HOSTILE, HOSTILE: HOSTILE}
    page.keep(
        job(HOSTILE, "FAILED", entrypoint=HOSTILE, message=HOSTILE, metadata=metadata, user=HOSTILE, error_type=HOSTILE,
            driver_node_id=HOSTILE, job_id=HOSTILE, runtime_env={"env": {HOSTILE: HOSTILE}}),
        logs={HOSTILE: f"{HOSTILE}\n".encode()},
    )  # fmt: skip
    page.keeping.record_why(
        HOSTILE, [{"kind": "cause", "text": HOSTILE, "remedy": HOSTILE}, {"kind": "clue", "text": HOSTILE}]
    )
    for path in (job_path(HOSTILE), "/", f"{job_path(HOSTILE)}?find={quote(HOSTILE)}", f"{job_path(HOSTILE)}/log-part"):
        found = read(browser, path)
        assert {tag for tag, _ in found.elements} <= TAGS
        assert "<script>alert(1)" in found.text
        # What was searched for stays as it was typed.
        assert "find=" in path or not set("\x1b\u202e") & set(browser.get(path).text)
    filters = read(browser, "/?search=%22%3E%3Cscript%3E&user=%22%3E%3Cimg&since=7d")
    assert filters.all("input", name="search")[0]["value"] == '"><script>'


LOGS = [
    (b"<script>alert(1)</script>\n", "<script>alert(1)</script>"),
    (b"\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\\n", "click"),
    (b"nul \x00 half \xe2\x82 end\n", "nul \u2400 half \ufffd end"),
    (b" 10%\r100%\n", "100%"),
    (b"x" * 1_000_000 + b" end", "x end"),
]


@pytest.mark.parametrize(("log", "shown"), LOGS)
def test_a_log_is_shown_as_a_terminal_would_and_never_as_html(
    page: Page, browser: TestClient, log: bytes, shown: str
) -> None:
    page.keep(job("a"), logs={"a": log})
    answer = browser.get("/jobs/a")
    found = Reader(answer.text)
    assert shown in found.text
    assert not any("javascript" in str(attrs) for _, attrs in found.elements)
    assert len(answer.content) < 200_000


def test_the_reason_is_the_first_thing_of_a_job_that_failed(full: Page, browser: TestClient) -> None:
    text = " ".join(read(browser, "/jobs/raysubmit_failed").text.split())
    cause = "Its program failed: ValueError: batch 17 has 3 columns, and the model has 4 (train.py, line 8, in main)"
    assert text.index("Why it failed") < text.index(cause) < text.index("Time line") < text.index("Search in the log")
    assert text.index("Failed train Failed with exit code 1 after 12m34s, by ada") < text.index(cause)
    assert cause in " ".join(read(browser, "/").text.split())


def test_the_reason_is_found_in_the_log_if_ray_gave_none(page: Page, browser: TestClient) -> None:
    page.keep(job("a", "FAILED", driver_exit_code=1), logs={"a": b"x\n" * 100_000 + TRACEBACK.encode()})
    assert "ValueError: batch 17" in read(browser, "/jobs/a").text.partition("Time line")[0]


def test_now_comes_before_history_and_filters_hold_for_both(full: Page, browser: TestClient) -> None:
    text = read(browser, "/").text
    assert text.index("Now") < text.index("raysubmit_waits") < text.index("History") < text.index("raysubmit_stopped")
    text = read(browser, "/?status=PENDING").text
    assert "raysubmit_waits" in text
    assert "raysubmit_runs" not in text
    assert "No job has ended with this filter" in text
    text = read(browser, "/?search=BIG.py").text
    assert "raysubmit_waits" in text
    assert "raysubmit_stopped" not in text


def test_a_thousand_jobs_are_paged_by_links(page: Page, browser: TestClient) -> None:
    page.keep(*(job(f"job-{n:04}", start=1_000_000 + n) for n in range(1000)), job("runs", "RUNNING"))
    seen, path = [], "/?user=ada&limit=300"
    while path:
        found = read(browser, path)
        seen += [attrs["href"] for attrs in found.all("a") if (attrs["href"] or "").startswith("/jobs/job-")]
        assert ("runs" in found.text) == (path == "/?user=ada&limit=300")
        following = found.all("a", rel="next")
        path = str(following[0]["href"]) if following else ""
    assert seen == [f"/jobs/job-{n:04}" for n in reversed(range(1000))]


def test_a_large_log_is_read_by_links_from_its_end_to_its_begin(full: Page, browser: TestClient) -> None:
    path, lines, pages = "/jobs/raysubmit_0000", 0, 0
    while path:
        found = read(browser, path)
        lines += len(found.all("div", **{"class": "line"}))
        pages += 1
        earlier = found.all("a", rel="prev")[0]
        assert "hidden" not in earlier
        path = urljoin(path, str(earlier["href"]).partition("#")[0]) if pages < 4 else ""
    assert lines > 3 * 2500
    begin = read(browser, "/jobs/raysubmit_0000?from=0")
    assert "line 0 of many" in begin.text
    assert "hidden" in begin.all("a", rel="prev")[0]
    assert "hidden" not in begin.all("a", rel="next")[0]
    middle = read(browser, "/jobs/raysubmit_0000?percent=50")
    assert re.search(r"line 15\d{4} of many", middle.text)
    assert "line 299999 of many" in read(browser, "/jobs/raysubmit_0000?percent=100").text


def test_the_search_in_a_log_goes_from_place_to_place(full: Page, browser: TestClient) -> None:
    found = read(browser, "/jobs/raysubmit_0000?find=LINE+12345")
    assert "line 12345 of many" in found.text
    following = next(attrs["href"] for attrs in found.all("a") if "after=" in str(attrs["href"]))
    found = read(browser, urljoin("/jobs/raysubmit_0000", str(following).partition("#")[0]))
    assert "line 123450 of many" in found.text
    assert len(found.all("mark")) == 10
    assert "Not found." in read(browser, "/jobs/raysubmit_0000?find=nothing").text


@pytest.mark.parametrize("query", ["from=x", "before=-1", "percent=101", "from=" + "9" * 50, "find=x&after=y"])
def test_a_place_that_is_none_is_refused(full: Page, browser: TestClient, query: str) -> None:
    read(browser, f"/jobs/raysubmit_0000?{query}", 400)


@pytest.mark.parametrize("query", ["from=999999999999", "before=0", "before=999999999999", "from=5"])
def test_a_place_outside_of_the_log_is_moved_into_it(full: Page, browser: TestClient, query: str) -> None:
    read(browser, f"/jobs/raysubmit_0000?{query}")
    read(browser, f"/jobs/raysubmit_0000/log-part?{query}")


def test_the_part_of_a_log_that_grows_is_fetched_from_its_start(full: Page, browser: TestClient) -> None:
    part = read(browser, "/jobs/raysubmit_runs/log-part").all("div", **{"class": "part"})[0]
    full.keeping.append_log("raysubmit_runs", b"epoch 2\n")
    full.keeping.flush()
    grown = read(browser, f"/jobs/raysubmit_runs/log-part?from={part['data-start']}")
    assert "epoch 1\nepoch 2" in re.sub(r"\s*\n\s*", "\n", grown.text)
    assert int(grown.all("div", **{"class": "part"})[0]["data-stop"] or 0) == int(part["data-stop"] or 0) + 8


BAR = "\r 42%|██████████▌             | 42/100 [00:07<00:09, 5.9it/s]"


def mixed(seed: int, size: int) -> bytes:
    """A log of lines of every length, the longest ones longer than three parts, with bars and without."""
    chosen, log = random.Random(seed), BAR * 2000
    while len(log) < size:
        kind = chosen.choice(["a short line", "zwölf Boxkämpfer 😀 ", BAR, "\x1b[32m█\x1b[0m", "x"])
        log += kind * chosen.choice([1, 1, 50, chosen.randrange(200_000 // len(kind))]) + chosen.choice(
            ["\n", "\n", ""]
        )
    return log.encode()


LONG_LINES = {
    "a first line of 200,000 bytes": b"x" * 200_000 + b"\nlast\n",
    "a line without an end": "é█😀".encode() * 30_000,
    "a part that ends inside a character": b"." + "█".encode() * 70_000 + b"\n",
    "bars": BAR.encode() * 4000,
    "lines of every length": mixed(1, 500_000),
    "lines of every length, with a gap": mixed(2, 2_500_000),
    "one line with a gap": "█".encode() * 800_000,
}


def walk(client: TestClient, path: str, following: Callable[[Reader], str]) -> tuple[list[tuple[int, int]], str]:
    """The bytes of the parts that follow each other from a path on, and their text without blanks."""
    ranges, text = [], ""
    while path:
        found = read(client, path)
        (part,) = found.all("div", **{"class": "part"})
        ranges.append((int(part["data-start"] or ""), int(part["data-stop"] or "")))
        text += "".join(found.text.split())
        assert len(ranges) <= 100, ranges[-5:]
        path = following(found)
    return ranges, text


def by_script(edge: str) -> Callable[[Reader], str]:
    """What app.js loads at an edge of the log: `later` or `earlier`."""

    def following(found: Reader) -> str:
        at = found.all("div", **{"class": "part"})[0].get(f"data-{edge}")
        return f"/jobs/a/log-part?{'from' if edge == 'later' else 'before'}={at}" if at else ""

    return following


def by_link(rel: str) -> Callable[[Reader], str]:
    def following(found: Reader) -> str:
        (link,) = found.all("a", rel=rel)
        return "" if "hidden" in link else urljoin("/jobs/a", link["href"]).partition("#")[0]

    return following


@pytest.mark.parametrize("name", LONG_LINES)
def test_the_parts_of_a_log_have_every_byte_once_however_long_its_lines_are(
    page: Page, browser: TestClient, name: str
) -> None:
    log = LONG_LINES[name]
    page.keeping.close()
    page.keeping = Keeping(page.kept.directory, PLACE, Limits(log_bytes=1024 * 1024))
    page.keep(job("a"), logs={"a": log})
    extent = page.kept.log_extent("a")
    assert extent is not None
    assert bool(extent.gap) == ("gap" in name)
    kept = [(0, extent.gap[0]), (extent.gap[1], len(log))] if extent.gap else [(0, len(log))]
    walks = [
        ("/jobs/a/log-part?from=0", by_script("later")),
        ("/jobs/a/log-part?end", by_script("earlier")),
        ("/jobs/a?from=0", by_link("next")),
        ("/jobs/a", by_link("prev")),
    ]
    for path, following in walks:
        ranges, text = walk(browser, path, following)
        joined: list[tuple[int, int]] = []
        for start, stop in sorted(ranges):
            if joined and joined[-1][1] == start:
                joined[-1] = joined[-1][0], stop
            else:
                joined.append((start, stop))
        assert joined == kept, path
        if not extent.gap:
            assert "\ufffd" not in text
        if path == "/jobs/a/log-part?from=0" and not extent.gap and not set(b"\r\x1b") & set(log):
            assert text == "".join(log.decode().split())


@pytest.mark.parametrize("begin", [b"", b"a line\n" * 9000, b"x" * 70_000, BAR.encode() * 1000 + b"\n"])
def test_a_log_that_grows_is_shown_with_every_byte_once(page: Page, browser: TestClient, begin: bytes) -> None:
    page.keep(job("a", "RUNNING"))

    def grow(data: bytes) -> None:
        page.keeping.append_log("a", data)
        page.keeping.flush()

    def load(query: str) -> Reader:
        return read(browser, f"/jobs/a/log-part?{query}")

    def edge(part: Reader, name: str) -> str | None:
        return part.all("div", **{"class": "part"})[0].get(f"data-{name}")

    grow(begin + BAR.encode())
    shown = [load("end")]
    first, bars = edge(shown[0], "start"), BAR.encode() * 2500
    # It often ends inside a character for now.
    for at_byte in range(0, len(bars), 5003):
        grow(bars[at_byte : at_byte + 5003])
        # As `growLog` of app.js: the last part again, then what is after it.
        shown[-1] = load(f"from={edge(shown[-1], 'start')}")
        while at := edge(shown[-1], "later"):
            shown.append(load(f"from={at}"))
            assert len(shown) < 20
    assert edge(shown[0], "start") == first
    assert edge(shown[-1], "stop") == str(len(begin + BAR.encode() + bars))
    assert all(edge(before, "stop") == edge(after, "start") for before, after in pairwise(shown))
    assert not any("\ufffd" in part.text for part in shown)


def test_a_place_inside_a_long_line_is_shown_from_a_character_on(page: Page, browser: TestClient) -> None:
    log = "█".encode() * 100_000
    page.keep(job("a"), logs={"a": log + b"\nneedle"})
    assert "\ufffd" not in "".join(read(browser, f"/jobs/a?percent={n}").text for n in range(40, 50))
    # Only a person types a place inside a character.
    typed = read(browser, "/jobs/a/log-part?from=100000")
    assert (typed.all("div", **{"class": "part"})[0]["data-start"], typed.text.count("\ufffd")) == ("100000", 2)
    assert read(browser, "/jobs/a?find=needle").all("mark")


def test_a_job_shows_all_that_is_known_of_it(page: Page, browser: TestClient) -> None:
    page.keep(
        failed("work", runtime_env={"working_dir": "gcs://_ray_pkg_1.zip", "env_vars": {"HF_TOKEN": "hf_abcdefghij"}},
               metadata={"team": "vision"}, driver_node_id="node-7", job_id="07000000"),
        failed("work-r1"),
    )  # fmt: skip
    text = read(browser, "/jobs/work").text
    for word in (
        "gcs://_ray_pkg_1.zip",
        "vision",
        "node-7",
        "07000000",
        "JOB_ENTRYPOINT_COMMAND_ERROR",
        "work-r1",
        "HF_TOKEN",
    ):
        assert word in text, word
    assert "hf_abcdefghij" not in text
    assert "submit --runtime-env-json" in text
    assert "work" in [
        attrs["href"].rpartition("/")[2] for attrs in read(browser, "/jobs/work-r1").all("a") if attrs["href"]
    ]


def test_the_cluster_shows_its_groups_and_what_waits(full: Page, browser: TestClient) -> None:
    text = " ".join(read(browser, "/cluster").text.split())
    for words in (
        "Cluster ray",
        "10.0.0.7:8265",
        "2 × 1 GPU: train in raysubmit_waits",
        "Warning: Pod ray-gpu-2",
    ):
        assert words in text, words
    assert re.search("gpu ?0 ?1 ?1", text)


def test_without_a_live_cluster_the_page_says_so_and_has_no_link(page: Page) -> None:
    from dataclasses import replace

    from jobs.keeper.web.app import create_app
    from tests.unit.jobs.keeper.conftest import BASE

    client = TestClient(create_app(replace(page.served, cluster=None)), BASE, client=("127.0.0.1", 1))
    home = client.get(page.access.new_path())
    assert "/cluster" not in home.text
    assert "no connection to a live cluster" in client.get("/cluster").text


def test_an_empty_folder_says_that_there_are_no_jobs(browser: TestClient) -> None:
    text = read(browser, "/").text
    assert "No job waits or runs." in text
    assert "No job has ended." in text


def test_a_personal_ledger_can_be_shown_too(tmp_path, page: Page) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from jobs.keeper.web.app import create_app
    from jobs.ledger.kept import KeptJobs
    from jobs.ledger.store import Ledger
    from tests.support.ledger import record_all
    from tests.unit.jobs.keeper.conftest import BASE

    record_all(Ledger(tmp_path / "own" / "ledger.sqlite"))
    app = create_app(replace(page.served, kept=KeptJobs(tmp_path / "own")))
    client = TestClient(app, BASE, client=("127.0.0.1", 1))
    assert 'href="/jobs/a"' in client.get(page.access.new_path()).text
    assert "rerun a" in read(client, "/jobs/a").text

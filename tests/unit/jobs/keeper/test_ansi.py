"""ansi: the bytes of a log become escaped HTML, as a terminal would show them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from html import unescape
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.keeper.web.ansi import CELLS_PER_BYTE, MOST_COLUMNS, PLAIN, Style, render

TAGS = re.compile(r'</?mark>|<span class="[a-z0-9 ]+">|</span>')
PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Zl", "Zp", "Cs")))


def texts(data: bytes) -> list[str]:
    return [line.text for line in render(data).lines]


def html(data: bytes) -> str:
    return "\n".join(line.html for line in render(data).lines)


@given(
    st.binary()
    | st.lists(st.sampled_from([b"<b>", b"\x1b[31m", b"\x1b]8;;", b"\x1b\\", b"\r", b"\b", b"\n", b"&\"'"])).map(
        b"".join
    )
)
def test_no_bytes_make_a_tag_that_is_not_ours(data: bytes) -> None:
    for line in render(data, find="b").lines:
        rest = TAGS.sub("", line.html)
        assert not set(rest) & set("<>\"'"), line.html
        assert unescape(rest) == line.text


@given(PRINTABLE)
def test_text_without_control_characters_is_shown_as_it_is(text: str) -> None:
    assert "\n".join(texts(text.encode())) == text


@given(st.lists(PRINTABLE, max_size=5), st.lists(st.integers(0, 130), max_size=4))
def test_colours_change_nothing_of_the_visible_text(words: list[str], codes: list[int]) -> None:
    coloured = f"\x1b[{';'.join(map(str, codes))}m".join(words)
    assert "".join(texts(coloured.encode())) == "".join(words)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_style_goes_on_where_a_part_of_the_log_ends(first: bytes, second: bytes) -> None:
    before = render(first + b"\n")
    whole, rest = render(first + b"\n" + second), render(second, before.style)
    # Only the movements upwards reach into the part before.
    if not re.search(rb"\x1b\[[0-?]*[AFBEJ]", second):
        assert [line.html for line in rest.lines] == [line.html for line in whole.lines[len(before.lines) :]]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b" 10%\r 50%\r100%", ["100%"]),
        (b"long text\rshort", ["shorttext"]),
        (b"long text\r\x1b[Kshort", ["short"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"abc\b\bX", ["aXc"]),
        (b"\b\bx", ["x"]),
        (b"first\nsecond\x1b[1A\rFIRST\nx", ["FIRST", "xecond"]),
        (b"a\x1b[3Cb\x1b[2Dc\x1b[1Gd", ["d  cb"]),
        (b"\x1b[2Kgone\x1b[2K", [""]),
        (b"abc\ndef\x1b[A\x1b[2D\x1b[J", ["a", ""]),
    ],
)
def test_the_cursor_moves_as_in_a_terminal(data: bytes, shown: list[str]) -> None:
    assert texts(data) == shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\", "click"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]52;c;aGk=\x07text", "text"),
        (b"\x1bPq#0\x1b\\image", "image"),
        (b"\x1b(Btext\x1b=\x1b7", "text"),
        (b"\x1b[?25l\x1b[2J\x1b[Htext", "text"),
        (b"bell\x07", "bell"),
    ],
)
def test_other_sequences_are_dropped_and_their_text_stays(data: bytes, shown: str) -> None:
    assert texts(data) == [shown]


def test_a_sequence_without_an_end_hides_no_text() -> None:
    assert texts(b"\x1b]8;;http://x text\nnext line") == ["\u241b]8;;http://x text", "next line"]
    assert texts(b"cut \x1b[3") == ["cut \u241b[3"]


def test_control_characters_and_half_characters_are_visible() -> None:
    assert texts(b"a\x00b\x7f\xe2\x82") == ["a\u2400b\u2421\ufffd"]
    assert texts("right\u202eleft\u2028".encode()) == ["right\\u202eleft\\u2028"]


def test_colours_and_styles_are_classes() -> None:
    assert html(b"\x1b[1;31mred\x1b[0m plain") == '<span class="f1 bold">red</span> plain'
    assert html(b"\x1b[97;44;4;9mx") == '<span class="f15 b4 underline strike">x</span>'
    assert html(b"\x1b[38;5;196mx\x1b[38;2;0;250;0my\x1b[48:2::0:0:230mz") == (
        '<span class="f9">x</span><span class="f10">y</span><span class="f10 b4">z</span>'
    )
    assert html(b"\x1b[31mx\x1b[39m\x1b[7my\x1b[27mz") == '<span class="f1">x</span><span class="inverse">y</span>z'
    assert html(b"\x1b[999;<;38mx\x1b[38;9mx") == "xx"


def test_what_is_found_is_marked_whatever_its_case_and_its_colour() -> None:
    line = render(b"an \x1b[31mEr\x1b[0mror & error", find="error").lines[0]
    assert line.html == ('an <mark><span class="f1">Er</span></mark><mark>ror</mark> &amp; <mark>error</mark>')
    assert "<mark>" not in render("İ error".encode(), find="error").lines[0].html


def test_each_line_has_the_offset_of_its_first_byte() -> None:
    assert [line.at for line in render("é\n\nx\n".encode()).lines] == [0, 3, 4]
    assert render(b"").lines == ()
    assert render(b"\x1b[1mx\n").style == Style(bold=True)
    assert render(b"\x1b[1mx\x1b[m").style == PLAIN


def test_a_movement_far_away_makes_no_line_of_its_length() -> None:
    assert len(texts(b"\x1b[99999999999999999C" * 100 + b"x")[0]) < 3000
    assert texts(b"\x1b[9999Bx\x1b[9999Ay") == ["xy"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[999Cx\n" * 1000,
        b"\x1b[999Gx\n" * 1000,
        b"\x1b[2K\x1b[999Cx\r\n" * 1000,
        # A column that is far away because a text is long goes with the cursor to other rows.
        b"\n" * 1000 + b"\x1b[1000A" + b"x" * 3000 + b"\x1b[Bx" * 1000,
        b"\n" * 2000 + b"\x1b[2000A" + b"x" * 900 + b"\x1b[Bx\b" * 2000,
    ],
)
def test_a_part_of_a_log_has_not_many_more_cells_than_bytes(data: bytes) -> None:
    lines = render(data).lines
    assert sum(len(line.text) for line in lines) <= (CELLS_PER_BYTE + 1) * len(data) + MOST_COLUMNS
    assert sum(len(line.html) for line in lines) <= 2 * CELLS_PER_BYTE * len(data) + MOST_COLUMNS


def test_a_text_that_may_have_no_blanks_before_it_continues_its_row() -> None:
    lines = texts(b"a\x1b[999Cb\x1b[2Dc\n" * 100)
    assert (lines[0], lines[-1]) == ("a" + " " * 998 + "cb", "cb")
    # A column that is far away because a text is long.
    assert texts(b"\n\x1b[A" + b"x" * 3000 + b"\x1b[By") == ["x" * 3000, "y"]
    assert texts(b"x" * 3000 + b"\x1b[2Ky") == ["y"]


def test_what_was_cut_needs_no_cells_so_that_a_bar_can_be_drawn_for_ever() -> None:
    assert texts(b"\r\x1b[2K\x1b[900Gx" * 1000) == [" " * 899 + "x"]
    assert texts(b"\x1b[A\r\x1b[J\x1b[900Gx\n\x1b[900Gy" * 1000) == [" " * 899 + "x", " " * 899 + "y"]


def test_a_column_at_the_right_of_each_line_stays_there() -> None:
    line = b"\x1b[32m*\x1b[0m Starting service %d\x1b[120G[ ok ]\n"
    assert {text.index("[ ok ]") for text in texts(b"".join(line % n for n in range(1000)))} == {119}


def test_bars_of_several_lines_are_drawn_over_each_other() -> None:
    frames = [f"\rall {n}/9\n\repoch {n}\n\r{'#' * n}\x1b[A\x1b[A" for n in range(10)]
    assert texts(("start\n" + "".join(frames) + "\n\n\n" + "end").encode()) == [
        "start",
        "all 9/9",
        "epoch 9",
        "#" * 9,
        "end",
    ]
    block = "\x1b[3A\r\x1b[J{0} of 4\nworker a: {0}\nworker b: {0}\n"
    drawn = "\n\n\n" + "".join(block.format(n) for n in range(5))
    assert texts(drawn.encode()) == ["4 of 4", "worker a: 4", "worker b: 4"]
    assert texts(b"one\ntwo\nthree\x1b[2A\r\x1b[Jx\n\ny\x1b[2A\r\x1b[Jz") == ["z", "", ""]


def test_clearing_to_the_left_reaches_as_far_as_a_movement() -> None:
    assert texts(b"x" * 3000 + b"\x1b[1Ky") == ["x" * (3000 - MOST_COLUMNS) + " " * MOST_COLUMNS + "y"]
    assert texts(b"some text\b\b\b\x1b[1K") == [" " * 7 + "xt"]


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python run, which does not depend on the machine."""
    number, before = 0, sys.gettrace()

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal number
        number += event == "line"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return number


@pytest.mark.parametrize(
    "data",
    [
        b"\n" * 1000 + b"\x1b[9999A" + b"\x1b[J" * 1000,
        b"x\n" * 1000 + b"\x1b[9999A" + b"\x1b[J" * 1000,
        b"\n" * 1000 + b"\x1b[9999Bx\x1b[9999A\x1b[J" * 200,
    ],
)
def test_clearing_what_is_below_touches_no_row_that_is_empty(data: bytes) -> None:
    assert steps(lambda: render(data)) < 30 * len(data)

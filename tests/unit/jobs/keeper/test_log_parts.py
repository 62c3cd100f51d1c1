"""log_parts: a log of any size in parts of whole lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.keeper.web.log_parts import Part, Read, line_start, part_before, part_from, search
from jobs.ledger.kept import LogExtent

LOGS = st.lists(
    st.sampled_from([b"\n", b"a", b"line\n", "é€😀".encode(), b"\x1b[31m", b"\r", b"\xff", b"\x80" * 9, b"x" * 30])
).map(b"".join)
GAPS = st.none() | st.tuples(st.integers(0, 200), st.integers(0, 200))


def reader(data: bytes, reads: list[int] | None = None) -> Read:
    def read(start: int, stop: int) -> bytes:
        assert start <= stop
        if reads is not None:
            reads.append(stop - start)
        return data[start:stop]

    return read


def extent_of(data: bytes, gap: tuple[int, int] | None = None) -> LogExtent:
    return LogExtent(len(data), gap, True)


def texts(part: Part) -> list[str]:
    return [line.text for line in part.lines]


@given(LOGS, st.integers(4, 40), st.booleans(), GAPS)
def test_parts_that_follow_each_other_have_every_byte_once(
    data: bytes, size: int, backward: bool, place: tuple[int, int] | None
) -> None:
    gap = None
    if place and len(data) > 2:
        first = 1 + place[0] % (len(data) - 2)
        gap = first, first + 1 + place[1] % (len(data) - 1 - first)
    read, extent, ranges = reader(data), extent_of(data, gap), []
    at: int | None = len(data) if backward else 0
    while at is not None:
        part = part_before(read, extent, at, size=size) if backward else part_from(read, extent, at, size=size)
        assert part.stop - part.start <= size
        ranges.append((part.start, part.stop))
        assert len(ranges) <= len(data) + 1
        at = part.earlier if backward else part.later
    first, last = gap or (len(data), len(data))
    shown = [at for start, stop in sorted(ranges) for at in range(start, stop)]
    assert shown == [*range(first), *range(last, len(data))]


def test_a_part_has_whole_lines_if_it_can() -> None:
    data = b"one\ntwo\nthree\n"
    assert texts(part_from(reader(data), extent_of(data), 0, size=9)) == ["one", "two"]
    assert texts(part_before(reader(data), extent_of(data), len(data), size=11)) == ["two", "three"]
    assert texts(part_from(reader(data), extent_of(data), 4)) == ["two", "three"]


def test_a_line_that_is_longer_than_a_part_is_cut_between_two_characters() -> None:
    data = "é".encode() * 10
    part = part_from(reader(data), extent_of(data), 0, size=5)
    assert (texts(part), part.stop) == (["éé"], 4)
    part = part_before(reader(data), extent_of(data), len(data), size=5)
    assert (texts(part), part.start) == (["éé"], 16)


def test_a_part_starts_at_the_byte_that_is_asked_for_even_inside_a_line_or_a_character() -> None:
    data = "zwölf\nlast".encode()
    for start, shown in ((1, "wölf"), (3, "\ufffdlf"), (5, "f")):
        part = part_from(reader(data), extent_of(data), start)
        assert (part.start, texts(part)) == (start, [shown, "last"])


def test_a_part_before_a_byte_has_bytes_even_if_none_begins_a_character() -> None:
    data = b"\x80" * 100
    part = part_before(reader(data), extent_of(data), 100, size=10)
    assert (part.start, part.stop) == (93, 100)


def test_a_part_begins_in_the_colour_that_an_earlier_line_set() -> None:
    data = b"\x1b[31mone\ntwo\n"
    assert part_from(reader(data), extent_of(data), 9).lines[0].html == '<span class="f1">two</span>'


def test_a_part_stops_at_the_gap_and_the_next_one_is_behind_it() -> None:
    data = b"first\n" + b"?" * 10 + b"last\n"
    extent = extent_of(data, (6, 16))
    begin = part_from(reader(data), extent, 0)
    assert (texts(begin), begin.later, begin.gap_after) == (["first"], 16, 10)
    end = part_before(reader(data), extent, extent.total)
    assert (texts(end), end.earlier, end.gap_before) == (["last"], 6, 10)
    assert part_from(reader(data), extent, 9) == end
    assert part_before(reader(data), extent, 9) == begin
    assert part_from(reader(data), extent, 16) == end


def test_only_the_part_is_read_of_a_large_log() -> None:
    data = b"a line of a large log\n" * 1_000_000
    reads: list[int] = []
    part_before(reader(data, reads), extent_of(data), len(data))
    part_from(reader(data, reads), extent_of(data), 11_000_000)
    assert sum(reads) < 300_000


def test_the_start_of_a_line_is_found_near_it() -> None:
    data = b"one\ntwo\n" + b"x" * 200_000
    read, extent = reader(data), extent_of(data)
    assert [line_start(read, extent, at) for at in (0, 2, 3, 4, 6, 8, 9)] == [0, 0, 0, 4, 4, 8, 8]
    assert line_start(read, extent, 190_000) == 190_000


def test_the_start_of_a_far_line_is_the_start_of_a_character() -> None:
    data = "😀".encode() * 50_000
    read, extent = reader(data), extent_of(data)
    assert [line_start(read, extent, at) for at in range(160_000, 160_005)] == [160_000] * 4 + [160_004]


def test_no_line_starts_in_the_gap() -> None:
    data = b"one\n" + b"?" * 10 + b"rest of two\nthree"
    read, extent = reader(data), extent_of(data, (4, 14))
    assert [line_start(read, extent, at) for at in (3, 4, 13, 14, 20, 26)] == [0, 14, 14, 14, 14, 26]


def test_the_part_of_the_line_of_a_text_has_the_text() -> None:
    for before in (1, 32_000, 33_000, 65_533, 65_536, 200_000):
        data = b"first\n" + b"x" * before + b"needle" + b"y" * 1000 + b"\nlast"
        read, extent = reader(data), extent_of(data)
        part = part_from(read, extent, line_start(read, extent, 6 + before), "needle")
        assert any("<mark>needle</mark>" in line.html for line in part.lines), before


def test_an_empty_log_has_an_empty_part() -> None:
    part = part_before(reader(b""), extent_of(b""), 0)
    assert (part.lines, part.earlier, part.later) == ((), None, None)


def test_a_text_is_found_whatever_its_case_and_where_blocks_meet() -> None:
    data = b"x" * (1024 * 1024 - 3) + b"NEEDLE" + b"y" * 100
    found = search(reader(data), extent_of(data), "needle", 0)
    assert found.at == 1024 * 1024 - 3
    assert search(reader(data), extent_of(data), "needle", 1024 * 1024).at is None


def test_a_search_reads_a_limited_number_of_bytes_and_says_where_it_ended() -> None:
    data = b"x" * 3_000_000 + b"needle"
    found = search(reader(data), extent_of(data), "needle", 0, most=2_000_000)
    assert (found.at, found.searched_to) == (None, 2_000_000)
    assert search(reader(data), extent_of(data), "needle", found.searched_to, most=2_000_000).at == 3_000_000


def test_a_search_does_not_join_what_the_gap_separates() -> None:
    data = b"nee" + b"?" * 10 + b"dle needle"
    assert search(reader(data), extent_of(data, (3, 13)), "needle", 0).at == 17

"""The colours of the page: WCAG AA, in the light and in the dark."""

from __future__ import annotations

import re

import pytest

from tests.support.command import ROOT

CSS = (ROOT / "jobs/keeper/web/static/app.css").read_text()
LEAST = 4.5  # Of text; WCAG 2.2, 1.4.3.
LEAST_OF_PARTS = 3.0  # Of borders and outlines; 1.4.11.
ON_PAGE = ["text", "muted", "link"]
PAIRS = [(name, ground) for name in ON_PAGE for ground in ("page", "panel", "log")]
PAIRS += [(f"{name}-text", name) for name in ("good", "bad", "busy", "wait", "calm", "button", "mark")]
PAIRS += [(f"f{number}", "log") for number in range(16)] + [("log", "text")]
PARTS = [("line", ground) for ground in ("page", "panel", "log")] + [("link", "page"), ("button", "page")]


def palettes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\n\}", CSS, re.DOTALL)
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text))
        for name, text in (("light", light), ("dark", dark))
    }


def luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        part = channel / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_is_computed_as_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", ["light", "dark"])
def test_every_text_can_be_read_on_its_ground(palette: str) -> None:
    colours = palettes()[palette]
    found = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in PAIRS}
    assert {pair: ratio for pair, ratio in found.items() if ratio < LEAST} == {}
    parts = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in PARTS}
    assert {pair: ratio for pair, ratio in parts.items() if ratio < LEAST_OF_PARTS} == {}


def test_a_coloured_ground_of_a_log_has_a_text_of_its_own() -> None:
    grounds = re.findall(r"^\.b(\d+) \{ color: (#\w{6}); background: (#\w{6}); \}$", CSS, re.MULTILINE)
    assert len(grounds) == 16
    assert [each for each in grounds if contrast(each[1], each[2]) < LEAST] == []


def test_every_colour_is_of_a_palette_and_every_pair_is_tested() -> None:
    rules = re.sub(r":root \{.*?\n\}", "", CSS, flags=re.DOTALL)
    rules = re.sub(r"^\.b\d+ .*$", "", rules, flags=re.MULTILINE)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(|opacity: (?!1;)", rules) == []
    used = {name for names in (*PAIRS, *PARTS) for name in names}
    assert set(re.findall(r"var\(--([\w-]+)\)", rules)) <= used
    assert set(palettes()["light"]) == set(palettes()["dark"]) == used


def test_what_is_hidden_stays_hidden_whatever_else_is_said_of_it() -> None:
    assert "[hidden] { display: none !important; }" in CSS


def test_the_page_has_nothing_of_another_host() -> None:
    folder = ROOT / "jobs/keeper/web"
    for file in [*folder.glob("templates/*"), *folder.glob("static/*")]:
        urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", file.read_text()))
        assert urls <= {"http://www.w3.org/2000/svg"}, file


def test_no_template_has_what_the_policy_forbids() -> None:
    for file in (ROOT / "jobs/keeper/web/templates").iterdir():
        text = file.read_text()
        assert re.findall(r"\bstyle=|\bon\w+=|<script(?! src=)|<style|javascript:|\|\s*safe\b", text) == (
            ["| safe"] if file.name == "log_part.html" else []
        ), file

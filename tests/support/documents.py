"""The stack files that the documents show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from components.kuberay import source

PAGES = [source.ROOT / "README.md", *sorted((source.ROOT / "docs").glob("*.md"))]
PREFIX = "ray-on-kubernetes:"


def stack_files(page: Path) -> list[dict[str, Any]]:
    """The `config` of each stack file in a page, in its order."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(block)["config"] for block in blocks if PREFIX in block]


def all_stack_files() -> dict[str, dict[str, Any]]:
    """Those of every page, by page and number: `production.md-0`."""
    return {f"{page.name}-{index}": config for page in PAGES for index, config in enumerate(stack_files(page))}

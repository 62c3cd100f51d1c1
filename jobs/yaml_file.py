"""YAML of a file that another person may have written. No error quotes it, and its aliases do not multiply it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# What the values are once every alias is replaced by what it stands for. A batch of 1,000 jobs has about 20,000.
MAX_VALUES = 200_000


class NotYaml(Exception):
    """Why a text cannot be used: a sentence without its subject and its full stop, such as `is not YAML at line 3`."""


def read_yaml(path: Path) -> Any:
    """Reads a YAML file. Raises NotYaml, OSError, UnicodeDecodeError."""
    return parse_yaml(path.read_text(encoding="utf-8"))


def parse_yaml(text: str) -> Any:
    """Reads a YAML text. Raises NotYaml."""
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError:
        raise NotYaml("is not YAML: it has a control character") from None
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Before the objects are made: `<<: *name` copies what the alias stands for.
        if _count(node, {}) > MAX_VALUES:
            raise NotYaml(f"has more than {MAX_VALUES} values once its aliases are replaced by what they stand for")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYaml(f"is not YAML{f' at line {mark.line + 1}' if mark else ''}") from None
    except RecursionError:
        raise NotYaml("is nested too deeply") from None
    except ValueError:  # such as the date 2026-13-45
        raise NotYaml("has a value that is not valid YAML, such as a date that does not exist") from None
    finally:
        loader.dispose()


def _count(node: Any, counts: dict[int, int]) -> int:
    """Counts the values in a node, with each alias as what it stands for."""
    known = counts.get(id(node))
    if known == 0:
        raise NotYaml("has an alias that contains itself")
    if known is not None:
        return known
    counts[id(node)] = 0
    total = 1
    if isinstance(node.value, list):
        for child in node.value:
            total += sum(_count(part, counts) for part in (child if isinstance(child, tuple) else (child,)))
    counts[id(node)] = total
    return total

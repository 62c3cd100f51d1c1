from __future__ import annotations

from components.manifests.merge import deep_merge


def test_null_removes_a_key() -> None:
    assert deep_merge({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": None}}) == {"a": 1, "b": {"d": 3}}


def test_named_items_merge_by_name_and_keep_their_order() -> None:
    base = [{"name": "a", "x": 1}, {"name": "b", "x": 2}]
    assert deep_merge(base, [{"name": "b", "y": 3}, {"name": "c"}]) == [
        {"name": "a", "x": 1},
        {"name": "b", "x": 2, "y": 3},
        {"name": "c"},
    ]


def test_other_lists_are_replaced() -> None:
    assert deep_merge({"args": ["a", "b"]}, {"args": ["c"]}) == {"args": ["c"]}


def test_neither_side_is_changed() -> None:
    base, override = {"a": {"b": 1}}, {"a": {"c": 2}}
    deep_merge(base, override)
    assert (base, override) == ({"a": {"b": 1}}, {"a": {"c": 2}})

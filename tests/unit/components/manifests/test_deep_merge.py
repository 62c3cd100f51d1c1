from __future__ import annotations

from components.manifests.deep_merge import merged


def test_null_removes_a_key() -> None:
    assert merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": None}}) == {"a": 1, "b": {"d": 3}}


def test_named_items_merge_by_name_and_keep_their_order() -> None:
    base = [{"name": "a", "x": 1}, {"name": "b", "x": 2}]
    assert merged(base, [{"name": "b", "y": 3}, {"name": "c"}]) == [
        {"name": "a", "x": 1},
        {"name": "b", "x": 2, "y": 3},
        {"name": "c"},
    ]


def test_other_lists_are_replaced() -> None:
    assert merged({"args": ["a", "b"]}, {"args": ["c"]}) == {"args": ["c"]}


def test_neither_side_is_changed() -> None:
    base, override = {"a": {"b": 1}}, {"a": {"c": 2}}
    merged(base, override)
    assert (base, override) == ({"a": {"b": 1}}, {"a": {"c": 2}})

"""The recorded identity of the cluster, and the id of the stack's state."""

from __future__ import annotations

from components.resources.cluster_identity import _StateProvider

ID = {"uid": "u", "context": "c", "state_id": "4f"}


def test_a_state_gets_an_id_once_and_keeps_it() -> None:
    provider, news = _StateProvider(), {"uid": "u", "context": "c"}
    first, second = (provider.check({}, news).inputs["state_id"] for _ in range(2))
    assert first != second
    assert provider.check(ID, news).inputs["state_id"] == "4f"
    assert not provider.diff("u", ID, ID).changes
    assert provider.diff("u", ID, {**ID, "context": "renamed"}).changes


def test_a_state_from_before_there_were_ids_gets_one_with_the_next_up() -> None:
    provider, old = _StateProvider(), {"uid": "u", "context": "c"}
    assert provider.diff("u", old, provider.check(old, old).inputs).changes


def test_another_cluster_is_still_refused() -> None:
    (failure,) = _StateProvider().check(ID, {**ID, "uid": "v"}).failures
    assert "leads to another cluster" in failure.reason

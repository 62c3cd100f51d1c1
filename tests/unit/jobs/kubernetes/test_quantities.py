"""Kubernetes quantities as numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from jobs.kubernetes.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", "0.5"),
        ("2", "2"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("100n", "1e-7"),
        ("3k", "3000"),
        ("1Ki", "1024"),
        ("1E", "1e18"),
        ("1Ei", "1152921504606846976"),
    ],
)
def test_every_suffix_of_kubernetes_is_read(text: str, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "fast", "1KB", "1 Gi", "1.2.3", "1e999", "0x10"])
def test_any_other_text_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="not a Kubernetes quantity; allowed: a value such as 500m"):
        parse_quantity(text)

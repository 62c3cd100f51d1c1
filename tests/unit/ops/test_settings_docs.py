"""docs/configuration.md has the settings that the code has."""

from __future__ import annotations

import pytest

from ops.settings_docs import PAGE, Row, filled, rows

OPERATOR = "## How is it set up?\n<!-- settings: kuberay -->\n{}<!-- end of settings -->\nprose\n"


def of(path: str) -> dict[str, Row]:
    return {row.key: row for row in rows(path, {})}


def test_the_page_has_the_tables_that_the_settings_give() -> None:
    page = PAGE.read_text()
    assert filled(page) == page, "run `make docs`"


def test_a_table_is_written_anew_and_the_prose_around_it_stays() -> None:
    page = filled(OPERATOR.format("| an old row |\n"))
    assert "an old row" not in page
    assert "| `namespace` | string | `ray-system` |" in page
    assert page.endswith("<!-- end of settings -->\nprose\n")


def test_an_object_with_a_table_of_its_own_is_a_link_to_it() -> None:
    page = filled("## All\n<!-- settings: . -->\n<!-- end of settings -->\n" + OPERATOR.format(""))
    assert "| `kuberay` | [object](#how-is-it-set-up) |" in page
    assert "| `kuberay.version` |" not in page


def test_rows_have_the_type_and_default_of_the_field() -> None:
    cluster = of("clusters")
    assert cluster["createNamespace"][1:3] == ("boolean", "`true`")
    assert cluster["imagePullPolicy"][1:3] == ("`Always`, `IfNotPresent`, `Never`", "")
    assert cluster["head.cpu"][1:3] == ("quantity", "`1`")
    assert cluster["head.requests.memory"][1:3] == ("quantity", "`2Gi`")
    assert cluster["workerGroups"][1:3] == ("mapping", '`{"small-group": {}}`')
    assert cluster["jobUsers[].kind"][1:3] == ("`User`, `Group`, `ServiceAccount`", "required")
    assert cluster["faultTolerance.redis.password.secret"][1:3] == ("string", "required")
    assert of("namespaces")["quota"].type == "object or `fit`"


def test_a_worker_groups_table_leaves_out_the_rows_that_the_head_has() -> None:
    page = filled("# W\n<!-- settings: clusters.workerGroups beyond clusters.head -->\n<!-- end of settings -->\n")
    assert "| `memory` | quantity | `1Gi` |" in page
    assert "| `min` |" in page
    assert "| `cpu` |" not in page


def test_a_marker_without_settings_is_an_error() -> None:
    with pytest.raises(KeyError, match="no object `elsewhere`"):
        filled("# A\n<!-- settings: clusters.elsewhere -->\n<!-- end of settings -->\n")

"""docs/keeper-api.yaml has every route of the API, its parameters, and the forms of its answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from starlette.routing import Route
from starlette.testclient import TestClient

from jobs.keeper.web.app import routes_of
from tests.support.command import ROOT
from tests.support.keeper_page import Page, failed, fill

API = yaml.safe_load((ROOT / "docs/keeper-api.yaml").read_text())
OF_THE_PAGE = {"/", "/cluster", "/open", "/jobs/{submission_id}", "/jobs/{submission_id}/log-part"}


def operations() -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, item in API["paths"].items() for method in item}


def resolve(value: Any) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            found: Any = API
            for key in value["$ref"].removeprefix("#/").split("/"):
                found = found[key]
            return resolve(found)
        return {key: resolve(inner) for key, inner in value.items()}
    return [resolve(each) for each in value] if isinstance(value, list) else value


def check(answer, path: str, method: str = "get") -> None:  # type: ignore[no-untyped-def]
    described = resolve(API["paths"][path][method]["responses"])[str(answer.status_code)]
    content = described.get("content", {}).get(answer.headers["content-type"].partition(";")[0])
    assert content is not None, (path, answer.status_code, answer.headers["content-type"])
    if "schema" in content:
        Draft202012Validator.check_schema(content["schema"])
        Draft202012Validator(content["schema"]).validate(answer.json())


def test_every_route_and_method_is_described_and_no_other(page: Page) -> None:
    routes = [route for route in routes_of(page.served) if isinstance(route, Route)]
    found = {(method, route.path.replace(":path", "")) for route in routes for method in route.methods or ()}
    api = {each for each in found if each[1] not in OF_THE_PAGE}
    # HEAD is described where it matters.
    assert {each for each in api if each[0] != "HEAD"} <= operations() <= api


def test_every_parameter_that_is_read_is_described() -> None:
    source = "".join((ROOT / f"jobs/keeper/web/{name}.py").read_text() for name in ("api", "filters"))
    read = set(re.findall(r'(?:query|query_params)\.get(?:list)?\("([a-z]+)"', source))
    read |= set(re.findall(r'"([a-z]+)" in (?:request\.)?query', source)) | set(
        re.findall(r'\(query, "([a-z]+)"', source)
    )
    read |= {"user", "name", "search", "since", "until", "cursor"}
    described = {
        each["name"]
        for item in resolve(API["paths"]).values()
        for op in item.values()
        for each in op.get("parameters", [])
    }
    assert read <= described
    headers = set(re.findall(r'headers\.get\("([a-z-]+)"', (ROOT / "jobs/keeper/web/api.py").read_text()))
    assert headers <= {name.lower() for name in described}


@pytest.mark.parametrize("path", sorted(path for path in API["paths"] if path != "/v1/events"))
def test_answers_and_refusals_have_the_described_form(
    page: Page, program: TestClient, stranger: TestClient, path: str
) -> None:
    fill(page)
    page.keep(failed("a"), logs={"a": b"a log"})
    method = next(iter(API["paths"][path]))
    url = path.replace("{submission_id}", "a")
    check(program.request(method, url), path, method)
    if "{" in path:
        check(program.get(path.replace("{submission_id}", "none")), path)
    if path != "/healthz":
        check(stranger.request(method, url), path, method)
    if path.endswith("/log"):
        check(program.get(url, headers={"range": "bytes=1-2"}), path)
        check(program.get(url, headers={"range": "bytes=99-"}), path)
    if path == "/v1/jobs":
        check(program.get(f"{url}?limit=x"), path)

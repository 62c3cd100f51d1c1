"""docs/python-api.md, made from the docstrings of the public classes and functions: `make docs`.

Read from the source, not from the imported modules, so that the page is the same with every version of Python.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "python-api.md"

HEADER = """\
<!-- Made by `make docs` from the docstrings in jobs/. Do not edit. -->

# Python API

Install it with `pip install .`, then:

```python
import sys

from rayjobs import connect

with connect() as client:  # the selected stack of the Pulumi project around the working directory
    job = client.submit("python script.py", working_dir=".")
    for chunk in job.logs(follow=True):  # bytes
        sys.stdout.buffer.write(chunk)
    job.wait(timeout=3600).check()  # raises JobFailed, JobStopped or JobLost
```

In this repository, without an installation, the package is called `jobs`: `from jobs import connect`. All names on this
page are imported in this way. [jobs.md](jobs.md) describes the commands and their promises, and
[notebooks](jobs.md#how-do-i-use-it-in-a-notebook).
"""


def page() -> str:
    """The whole page."""
    api, records = _Module("jobs/api.py"), _Module("jobs/spec/job_info.py")
    parts = [HEADER]
    parts += [api.function("connect"), api.function("connect_async")]
    parts += [api.class_page(name) for name in ("Client", "Job", "AsyncClient", "AsyncJob")]
    parts += [records.class_page("Result"), records.class_page("JobInfo")]
    parts += [_errors(_Module("jobs/errors.py"))]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


class _Module:
    """A source file: its docstrings, and its signatures as they are written."""

    def __init__(self, path: str) -> None:
        text = (ROOT / path).read_text(encoding="utf-8")
        self.lines = text.splitlines()
        self.tree = ast.parse(text)
        self.nodes = {
            node.name: node
            for node in self.tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        }

    def class_node(self, name: str) -> ast.ClassDef:
        node = self.nodes[name]
        assert isinstance(node, ast.ClassDef)
        return node

    def function(self, name: str) -> str:
        node = self.nodes[name]
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        return f"## {name}\n\n{self._signature(node)}\n\n{_docstring(node)}"

    def class_page(self, name: str) -> str:
        node = self.class_node(name)
        parts = [f"## {name}", _docstring(node)]
        for method in node.body:
            if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and not method.name.startswith("_"):
                parts += [f"### {name}.{method.name}", self._signature(method), _docstring(method)]
        return "\n\n".join(parts)

    def _signature(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        lines = self.lines[node.lineno - 1 : node.body[0].lineno - 1]
        text = textwrap.dedent("\n".join(lines)).rstrip().removesuffix(":")
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        return "\n".join(["```python", *(f"@{name}" for name in decorators), text, "```"])


def _docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A Google-style docstring as Markdown: sections of entries become lists."""
    paragraphs = (ast.get_docstring(node) or "").split("\n\n")
    return "\n\n".join(_section(paragraph) for paragraph in paragraphs)


def _section(paragraph: str) -> str:
    title, _, body = paragraph.partition("\n")
    if title not in ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:"):
        return paragraph
    body = textwrap.dedent(body)
    if title in ("Returns:", "Yields:"):
        return f"{title} {body}"
    return f"{title}\n\n" + re.sub(r"^(\S+): ", r"- `\1`: ", body.replace("\n    ", "\n  "), flags=re.MULTILINE)


def _errors(module: _Module) -> str:
    """The tree of the errors, and what each of them means."""
    tree = (ast.get_docstring(module.tree) or "").partition(":\n\n")[2]
    parts = ["## Errors", _docstring(module.class_node("JobsError")), "```text\n" + textwrap.dedent(tree) + "\n```"]
    return "\n\n".join(parts)

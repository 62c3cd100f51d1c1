"""The packages of the page, which are an extra."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import LocalFault


def check_extra(what: str) -> None:
    """Raises LocalFault if the packages of the page are not installed; `what` needs them."""
    if missing := [name for name in ("starlette", "uvicorn", "jinja2") if find_spec(name) is None]:
        raise LocalFault(
            f"{what} needs packages that are not installed: {', '.join(missing)}.", "pip install 'rayjobs[keeper]'"
        )

"""The token of a Jobs API at a URL. No message repeats it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import Refused

_AUTHENTICATING_HEADERS = ("authorization", "x-ray-authorization", "cookie")


def has_token(token_file: str | None, headers: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    """Returns whether requests will be authenticated: by a token, or by a header."""
    if token_file or environ.get("RAY_AUTH_TOKEN") or environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return any(name.lower() in _AUTHENTICATING_HEADERS for name in headers)


def read_token(token_file: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Reads the token of --token-file, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, in this order. Raises Refused."""
    if token_file is None and environ.get("RAY_AUTH_TOKEN"):
        return check_token(environ["RAY_AUTH_TOKEN"], "RAY_AUTH_TOKEN")
    path = token_file or environ.get("RAY_AUTH_TOKEN_PATH")
    if not path:
        return None
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"Could not read the token file {path}: {type(error).__name__}.", "Check its path.") from error
    return check_token(text, f"the token file {path}")


def check_token(text: str, source: str) -> str:
    """Returns the token without the white space around it. Raises Refused."""
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Refused(
            f"The token in {source} cannot be used: it is empty, or has characters that a header cannot carry."
        )
    return token

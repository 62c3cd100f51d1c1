"""httpx without its command line, whose imports (rich, pygments) take as long as all the rest of it."""

from __future__ import annotations

import sys

_loaded = "httpx" in sys.modules
if not _loaded:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
import httpx  # noqa: E402

if not _loaded:
    del sys.modules["httpx._main"]

__all__ = ["httpx"]

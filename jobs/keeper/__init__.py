"""The keeper: it keeps every job of a cluster, and shows them. `web/` is its page and its API.

Only this package imports starlette, uvicorn and jinja2: they are the extra `keeper`, and may be missing.
"""

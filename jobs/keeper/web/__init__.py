"""The page and the API over kept jobs: `app.create_app`. Read-only: nothing here writes a record or sends a request.

Pure modules: ansi, words, timeline, byte_ranges, log_parts, filters, metrics, access.
"""

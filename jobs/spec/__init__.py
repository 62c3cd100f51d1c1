"""The spec of a job, and the server's record of it. Pure: nothing here reads a file or sends a request.

job_spec (fields, digest, wire format), job_info (the server's record, results), limits (how long a job may take),
submission_id, redact and secret_patterns (what may be stored), shown (what may be shown).
"""

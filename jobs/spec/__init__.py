"""What a job is to do, and what the server says of it. Pure: nothing here reads a file or sends a request.

job_spec (fields, digest, wire format), job_info (the server's record, results), limits (how long a job may take),
submission_id, redact and secret_patterns (what may be shown and stored).
"""

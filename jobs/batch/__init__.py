"""Many jobs from one command: jobs_file (what to run), sweep (parameters), prepare (packages and ids), run (the runs).

Not here: how one job is submitted (`jobs.submit`) and looked at (`jobs.dashboard.waiting`), or how a batch is shown.
"""

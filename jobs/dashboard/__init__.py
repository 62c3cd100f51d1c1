"""Ray's HTTP: everything that is asked of the dashboard and of its agents.

http (one server, deadlines, errors), client (a method for each endpoint), submission (a job is created exactly once),
state_api (nodes, actors, tasks), orphans, waiting (the end of jobs, and which job is lost), logs.
Not here: Kubernetes, the ledger, packing, text for the terminal.
"""

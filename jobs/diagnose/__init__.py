"""Finds problems of a cluster or a job, and the remedies: `check` and `why`.

- `finding.py`: one sentence of an answer; both commands answer with a list of these
- `check.py`: whether jobs can run at a target, step by step until the first problem
- `evidence.py`: reads the evidence of `why` from Ray and Kubernetes
- `prometheus.py`: asks the stack's Prometheus for its alerts
- `why.py`, `from_kubernetes.py`, `alerts.py`, `resources.py`: pure; from evidence to findings
- `failure.py`, `causes.py`: pure; how a program failed, from the end of its log, and the table of causes

Nothing here prints, and nothing changes the cluster. A new cause of a failed program: a row of `causes.CAUSES`. Any
other new cause: a branch in `why.py` or `from_kubernetes.py`. Each has a case in the tests of `why`.
"""

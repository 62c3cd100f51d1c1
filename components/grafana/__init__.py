"""Grafana dashboards: those that the installed Ray writes, with their recorded digests, and that of this project."""

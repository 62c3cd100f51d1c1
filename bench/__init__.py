"""Measurements with the competitor beside us in the same run. `python -m bench --help`; results in bench/results/."""

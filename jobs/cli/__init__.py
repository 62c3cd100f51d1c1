"""The command line: a file per command, and nothing that a Python program would need.

Each command reads its options, calls the library, prints, and ends with an exit code. Its file is loaded when the
command is used, so `--help` and `list` start fast. Only this folder imports click and rich.

- `main.py`: the group of commands and `main()`; `help.py`: the form of `--help`
- `options.py`, `statuses.py`: options that many commands have; `submit_options.py`: those of `submit` and `rerun`
- `runner.py`: event loop, signals, sessions, errors as exit codes; `output.py`: all that is printed
- `init.py`: the default target, and what is said without one
- `table.py`: tables that fit the terminal; `job_table.py`, `watch.py`: those of `list`
- `follow_job.py`: one job from submission to exit code; `run_batch.py`, `batch_view.py`: the same for many jobs
- `completion.py`, `candidates.py`: what a shell offers for a word
- `upload_plan.py`: `submit --plan`; `ledger_log.py`: a log from the local job history

A new command: a file with `NAME_command`, and a line in `main.COMMANDS`. What it does belongs into the library.
"""

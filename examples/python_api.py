"""A job from Python: submit a directory, read its log as it is written, get its result.

    python examples/python_api.py outputs.dev.json     the clusters in an outputs file (`make outputs STACK=dev`)
    python examples/python_api.py --local              a Ray on this machine

For a cluster, a tunnel is open for as long as the `with` block runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    from rayjobs import connect  # installed with `pip install .`
except ModuleNotFoundError:
    from jobs import connect  # in this repository


def main(target: str) -> int:
    with connect(local=True) if target == "--local" else connect(outputs=target) as client:
        job = client.submit("python script.py", working_dir=Path(__file__).parent / "walkthrough")
        for piece in job.logs(follow=True):
            sys.stdout.buffer.write(piece)
        result = job.wait(timeout=600)
    print(f"{result.submission_id}: {result.status}")
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "--local"))

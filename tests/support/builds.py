"""Builds what the cluster and the end-to-end tests run on: `python -m tests.support.builds cluster|e2e ...`.

`make test` runs it beside the faster tests, and again before the tests that need the parts. What is built already takes
no time, and what the other process builds is waited for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from single_node.cache import cache_root
from single_node.errors import SingleNodeError
from single_node.images import ensure_images
from single_node.programs import kubernetes
from single_node.requirements import install_packages, missing_packages, problems
from tests.support import capabilities, prometheus

BUILT_FOR = ("cluster", "e2e")


def build(tiers: Sequence[str]) -> None:
    """Builds the parts of some of BUILT_FOR.

    Raises:
        SingleNodeError: one of them cannot be built.
    """
    if not os.environ.get("TEST_CLUSTER") or os.environ["TEST_CLUSTER"] == "native":
        install_packages()
        kubernetes.build()
        ensure_images()
    if "e2e" in tiers:
        capabilities.prepare()
        prometheus.build()


@contextlib.contextmanager
def builds_beside(tiers: Sequence[str]) -> Iterator[None]:
    """Builds the parts of some of BUILT_FOR with low priority, for as long as the block runs.

    Installs the packages that are missing before the block.

    Raises:
        NotPossible: a package cannot be installed, or the person at the terminal said no.
    """
    if not tiers or problems():
        yield
        return
    if missing_packages():
        install_packages()
    log = cache_root() / "builds.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"What {' and '.join(tiers)} run on is built meanwhile, if it is not there: {log}", flush=True)
    command = ["nice", "-n", "15", sys.executable, "-m", "tests.support.builds", *tiers]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    try:
        build(sys.argv[1:])
    except SingleNodeError as error:
        sys.exit(f"error: {error}")

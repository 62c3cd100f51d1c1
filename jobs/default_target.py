"""The default target: the outputs file of this user, which is used where nothing else names a target."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from .errors import LocalFault, Refused
from .private_file import write_private
from .target.contract import Contract
from .target.known import known_contract
from .target.options import TargetOptions
from .target.pulumi_project import find_project
from .target.resolve import default_outputs, read_contract


def choose_default(
    options: TargetOptions, *, environ: Mapping[str, str] = os.environ, cwd: Path | None = None
) -> Contract:
    """Reads the outputs that become the default target: of --outputs, else of --stack, else of the selected stack.

    With --cluster they have only that cluster; --context and --kubeconfig replace those of the outputs.

    Raises:
        Refused: The options cannot be used, nothing names a stack here, or the outputs name a kubeconfig that only the
            user may choose.
        LocalFault: The Pulumi CLI is missing.
        DeadlinePassed: The Pulumi CLI did not answer.
    """
    from .kubernetes.kubeconfig import check_of_outputs

    options.check()
    # Neither the variable nor the present default is a source.
    sources = {name: value for name, value in environ.items() if name != "RAYJOBS_OUTPUTS"}
    contract, outputs_file = read_contract(options, sources, cwd or Path.cwd(), use_default=False)
    if outputs_file is not None and contract.kubeconfig and not options.kubeconfig:
        # The copy belongs to the user: a check of it would find nothing.
        check_of_outputs(outputs_file, contract.kubeconfig, environ)
    kubeconfig = options.kubeconfig or contract.kubeconfig
    return replace(
        contract,
        clusters=(contract.cluster(options.cluster),) if options.cluster else contract.clusters,
        kube_context=options.context or contract.kube_context,
        kubeconfig=_absolute(kubeconfig) if kubeconfig else None,
    )


def _absolute(kubeconfig: str) -> str:
    return os.pathsep.join(os.path.abspath(os.path.expanduser(part)) for part in kubeconfig.split(os.pathsep) if part)


def write_default(contract: Contract, environ: Mapping[str, str] = os.environ) -> tuple[Path, Contract | None]:
    """Writes the default outputs file, readable by this user only.

    Returns:
        The file, and the outputs that it had before; None if there were none that could be read.

    Raises:
        LocalFault: It cannot be written.
    """
    path = default_outputs(environ)
    before = known_contract(str(path), environ)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        write_private(new, json.dumps(contract.to_dict(), indent=2) + "\n")
        os.replace(new, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise LocalFault(f"Could not write {path}: {error.strerror or error}.") from error
    return path, before


def outputs_here(directory: Path) -> list[str]:
    """Returns the files in a directory that `make outputs` may have written, and that can be used."""
    names = sorted(path.name for path in directory.glob("outputs*.json"))[:20]
    return [name for name in names if known_contract(str(directory / name)) is not None]


def has_target(cwd: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Returns whether a command without options has a target here. The Pulumi CLI is not called."""
    if environ.get("RAYJOBS_OUTPUTS") or default_outputs(environ).is_file():
        return True
    try:
        return find_project(cwd) is not None
    except Refused:
        return False

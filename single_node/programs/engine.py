"""Builds Pulumi's engine for a machine that reaches nothing but package registries.

The CLI and the Kubernetes provider are Go modules. Pulumi's Python language host is published neither as a module nor
as a package, so a small one of ours takes its place (single_node/language_host). docs/decisions.md says what differs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..cache import cache_root, locked, recipe_digest, write_atomically
from .go import build_program, module_folder

PULUMI = "github.com/pulumi/pulumi"
PULUMI_VERSION = "v3.274.1"
PROVIDER = "github.com/pulumi/pulumi-kubernetes/provider/v4"
# The module has no newer release; this is the code of 4.25. It compiles only with the versions that it asks for itself.
PROVIDER_MODULE_VERSION = "v4.0.0-20260115033456-f47bc2d6f199"
PROVIDER_VERSION = "4.25.0"
# What the go.mod of each asks for.
PULUMI_GO = "1.26.6"
PROVIDER_GO = "1.24.7"
PROGRAMS = (
    "pulumi",
    "pulumi-resource-kubernetes",
    "pulumi-language-python",
    "pulumi-resource-pulumi-python",
)

# The module has everything but the generated file that embeds these two.
PROVIDER_SOURCE = f"""\
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

//go:embed schema.json
var schema []byte

//go:embed terraform-mapping.json
var mapping []byte

func main() {{
	provider.Serve("kubernetes", "{PROVIDER_VERSION}", schema, mapping)
}}
"""

# Several checkouts share the cache, so the Python is that of the checkout which calls: ops/ names it, and the engine
# starts these programs in the project's folder.
LAUNCHER = """\
#!/bin/sh
python=${{RAY_PULUMI_PYTHON:-}}
if [ -z "$python" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
exec "${{python:-python3}}" -u {arguments} "$@"
"""

HOST = Path(__file__).resolve().parent.parent / "language_host" / "host.py"


def engine_dir() -> Path:
    """The folder to put on PATH, by versions and recipes. Its Go programs are links: a new host needs no new build."""
    digest = recipe_digest(PULUMI_VERSION, PROVIDER_MODULE_VERSION, PROVIDER_SOURCE, LAUNCHER, HOST.read_text())
    return cache_root() / "engine" / f"pulumi-{PULUMI_VERSION}-{digest}"


def _cli() -> Path:
    return cache_root() / "engine" / f"cli-{PULUMI_VERSION}" / "pulumi"


def _provider() -> Path:
    digest = recipe_digest(PROVIDER_MODULE_VERSION, PROVIDER_SOURCE)
    return cache_root() / "engine" / f"provider-{PROVIDER_VERSION}-{digest}" / "pulumi-resource-kubernetes"


def is_built() -> bool:
    """Whether every program is there."""
    return all((engine_dir() / name).exists() for name in PROGRAMS)


def build() -> Path:
    """Builds what is missing and returns the folder of the programs.

    Raises:
        NotPossible: there is no Go, or no disk space.
        SingleNodeError: a module cannot be fetched or compiled.
    """
    target = engine_dir()
    version = f"-X {PULUMI}/sdk/v3/go/common/version.Version={PULUMI_VERSION}"
    cli = build_program(
        _cli(),
        f"{PULUMI}/pkg/v3/cmd/pulumi",
        requires={f"{PULUMI}/pkg/v3": PULUMI_VERSION, f"{PULUMI}/sdk/v3": PULUMI_VERSION},
        oldest_go=PULUMI_GO,
        flags=version,
        usually="3 to 5 minutes",
    )
    provider = _build_provider()
    with locked(target / ".lock"):
        for program in (cli, provider):
            _replace(target / program.name, partial(_link, program))
        host = target / "language_host.py"
        write_atomically(host, HOST.read_text())
        # The last one: with all of them `is_built` is true.
        _replace(target / "pulumi-resource-pulumi-python", partial(_write_launcher, "-m pulumi.dynamic"))
        _replace(target / "pulumi-language-python", partial(_write_launcher, shlex.quote(str(host))))
    return target


def _build_provider() -> Path:
    program = _provider()
    if program.exists():
        return program
    source = module_folder(PROVIDER, PROVIDER_MODULE_VERSION, program.parent / "build" / "module")
    files = {name: (source / "cmd" / program.name / name).read_bytes() for name in _EMBEDDED}
    return build_program(
        program,
        ".",
        requires={PROVIDER: PROVIDER_MODULE_VERSION},
        oldest_go=PROVIDER_GO,
        files={"main.go": PROVIDER_SOURCE.encode(), **files},
        usually="7 to 17 minutes",
    )


_EMBEDDED = ("schema.json", "terraform-mapping.json")


def _write_launcher(arguments: str, place: Path) -> None:
    place.write_text(LAUNCHER.format(arguments=arguments))
    place.chmod(0o755)


def _link(program: Path, place: Path) -> None:
    place.symlink_to(program)


def _replace(target: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` make the file, which appears at once: an engine of another process may be starting it."""
    unfinished = target.with_suffix(".partial")
    unfinished.unlink(missing_ok=True)
    write(unfinished)
    unfinished.rename(target)

"""Builds the programs of a single-node Kubernetes with Go, once, into the cache.

Kubernetes publishes its programs as images and as archives outside any package registry; the Go module proxy is what
a locked-down machine can usually reach, so they are compiled from the modules `k8s.io/kubernetes` and
`github.com/coredns/coredns`. Cold: some ten minutes on two cores. Warm: nothing to do.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# 1.36 and later no longer run on the containerd 1.x of the distributions.
KUBERNETES_VERSION = "1.34.4"
COREDNS_VERSION = "1.12.4"
KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")

PAUSE_SOURCE = """\
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM)
	<-c
}
"""

# CoreDNS with only the plugins that are needed: all of them take many times as long to build. They are asked in this
# order. `template` answers "no such name" to all other questions, so it is the last one here.
COREDNS_SOURCE = """\
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	dnsserver.Directives = []string{"errors", "ready", "kubernetes", "template"}
	coremain.Run()
}
"""


class NativeError(Exception):
    """A reason for a person why the native cluster cannot be built or run."""


def say(text: str) -> None:
    """Progress for a person, on stderr: stdout belongs to the answers."""
    print(f"native: {text}", file=sys.stderr, flush=True)


def cache_root() -> Path:
    """Where programs, images and containerd's content stay between runs: `RAY_E2E_CACHE` or the user's cache."""
    if named := os.environ.get("RAY_E2E_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "ray-on-kubernetes"


def bin_dir() -> Path:
    """The folder of the built programs of this Kubernetes version."""
    return cache_root() / "native" / f"v{KUBERNETES_VERSION}" / "bin"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file, so that two runs do not build the same thing at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build() -> Path:
    """Builds what is missing and returns the folder of the programs."""
    target = bin_dir()
    with locked(target.parent / "build.lock"):
        packages = {name: f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS}
        version = f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}"
        _build_module(target, "k8s.io/kubernetes", f"v{KUBERNETES_VERSION}", packages, version)
        (_work_dir(target, "coredns") / "main.go").write_text(COREDNS_SOURCE)
        _build_module(target, "github.com/coredns/coredns", f"v{COREDNS_VERSION}", {"coredns": "."}, "")
        if not (target / "pause").exists():
            source = _work_dir(target, "pause")
            (source / "main.go").write_text(PAUSE_SOURCE)
            (source / "go.mod").write_text("module pause\n\ngo 1.24.0\n")
            _go_build(source, target / "pause", ".", "")
    return target


def _build_module(target: Path, module: str, version: str, packages: Mapping[str, str], stamp: str) -> None:
    missing = {name: package for name, package in packages.items() if not (target / name).exists()}
    if not missing:
        return
    work = _work_dir(target, module.rpartition("/")[2])
    (work / "go.mod").write_text("module build\n\ngo 1.24.0\n")
    answer = json.loads(_go(["mod", "download", "-json", f"{module}@{version}"], work, capture=True))
    upstream = Path(answer["GoMod"]).read_text()
    (work / "go.mod").write_text(_go_mod(module, version, upstream))
    for name, package in missing.items():
        say(f"building {name} {version} (minutes, once)")
        started = time.monotonic()
        _go_build(work, target / name, package, stamp)
        say(f"built {name} in {time.monotonic() - started:.0f} s")


def _go_mod(module: str, version: str, upstream: str) -> str:
    """A go.mod from which the module's commands can be built.

    Kubernetes' own one replaces its staging modules by folders which the module's zip does not contain; each was
    published as a module too, as v0 of the same minor and patch.
    """
    staged = re.findall(r"^\s*(\S+) => \./staging/", upstream, flags=re.MULTILINE)
    replaced = [f"replace {name} => {name} v0{version.removeprefix('v1')}" for name in staged]
    return "\n".join(["module build", "", "go 1.24.0", "", f"require {module} {version}", "", *replaced, ""])


def _go_build(work: Path, target: Path, package: str, stamp: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    _go(["build", "-p", "2", "-trimpath", "-ldflags", f"-s -w {stamp}", "-o", str(partial), package], work)
    partial.rename(target)


def _work_dir(target: Path, name: str) -> Path:
    work = target.parent / "build" / name
    work.mkdir(parents=True, exist_ok=True)
    return work


def _go(arguments: list[str], work: Path, capture: bool = False) -> str:
    go = shutil.which("go")
    if go is None:
        raise NativeError("The command `go` is missing: Kubernetes is built with Go 1.24 or newer. Install it.")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false", "GOWORK": "off"}
    done = subprocess.run(
        ["nice", "-n", "10", go, *arguments],
        cwd=work,
        env=environment,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        check=False,
    )
    if done.returncode != 0:
        raise NativeError(f"`go {arguments[0]}` failed in {work} (exit code {done.returncode}); its message is above.")
    return done.stdout or ""

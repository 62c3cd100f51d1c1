"""Builds the programs of Kubernetes, and CoreDNS.

Kubernetes publishes its programs as images and as archives outside any package registry, so they are compiled from the
modules `k8s.io/kubernetes` and `github.com/coredns/coredns`.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..cache import cache_root, locked
from .go import build_program, module_go_mod

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


def bin_dir() -> Path:
    """The folder of the built programs of this Kubernetes version."""
    return cache_root() / "native" / f"v{KUBERNETES_VERSION}" / "bin"


def missing_programs() -> list[str]:
    """Names of the programs that are not built yet."""
    return [name for name in (*KUBERNETES_PROGRAMS, "coredns", "pause") if not (bin_dir() / name).exists()]


def build() -> Path:
    """Builds what is missing and returns the folder of the programs."""
    target, version = bin_dir(), f"v{KUBERNETES_VERSION}"
    with locked(target.parent / "build.lock"):
        missing = missing_programs()
        replaces = _staging(version, target / "build" / "kubernetes") if set(missing) & {*KUBERNETES_PROGRAMS} else {}
        for name in KUBERNETES_PROGRAMS:
            build_program(
                target / name,
                f"k8s.io/kubernetes/cmd/{name}",
                requires={"k8s.io/kubernetes": version},
                replaces=replaces,
                flags=f"-X k8s.io/component-base/version.gitVersion={version}",
                usually="5 minutes for the first, 1 for each other",
            )
        build_program(
            target / "coredns",
            ".",
            requires={"github.com/coredns/coredns": f"v{COREDNS_VERSION}"},
            files={"main.go": COREDNS_SOURCE.encode()},
            usually="1 minute",
        )
        build_program(target / "pause", ".", requires={}, files={"main.go": PAUSE_SOURCE.encode()}, usually="")
    return target


def _staging(version: str, work: Path) -> dict[str, str]:
    """Returns the modules that Kubernetes' go.mod replaces by folders which its zip does not contain.

    Each was published as a module too, as v0 of the same minor and patch.
    """
    upstream = module_go_mod("k8s.io/kubernetes", version, work)
    names = re.findall(r"^\s*(\S+) => \./staging/", upstream, flags=re.MULTILINE)
    return {name: f"v0{version.removeprefix('v1')}" for name in names}

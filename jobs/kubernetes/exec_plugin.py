"""Runs the program that logs a user of the kubeconfig in, as kubectl does (client-go's `exec` credential plugins)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..activity import activity
from ..errors import NotAllowed, Refused
from .fields import EXEC, TEXT, check_fields

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
INTERACTIVE_MODES = ("Never", "IfAvailable", "Always")
# The name under which a cluster's entry holds settings for the program.
_CONFIG_EXTENSION = "client.authentication.k8s.io/exec"


@dataclass(frozen=True)
class PluginCredentials:
    """What the program returned: a token, or a client certificate with its key as PEM; empty: not returned."""

    token: str = ""
    certificate: str = ""
    key: str = ""


def exec_info(plugin: Mapping[str, Any], cluster: Mapping[str, Any], *, interactive: bool) -> dict[str, Any]:
    """Returns the content of `KUBERNETES_EXEC_INFO`.

    Args:
        plugin: `exec` of the user.
        cluster: the cluster's entry; `certificate-authority` has been read into `certificate-authority-data`.
        interactive: whether the program may ask questions.
    """
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        keys = (
            *("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data"),
            *("proxy-url", "disable-compression"),
        )
        spec["cluster"] = {key: cluster[key] for key in keys if cluster.get(key)}
        for extension in cluster.get("extensions") or []:
            if extension.get("name") == _CONFIG_EXTENSION:
                spec["cluster"]["config"] = extension.get("extension")
    return {"kind": "ExecCredential", "apiVersion": plugin["apiVersion"], "spec": spec}


async def run_plugin(
    plugin: Mapping[str, Any], cluster: Mapping[str, Any], folder: Path, environ: Mapping[str, str] = os.environ
) -> PluginCredentials:
    """Runs the program. What it writes to stderr is shown, as kubectl shows it: it may tell the user where to log in.

    Args:
        plugin: `exec` of the user.
        cluster: see `exec_info`.
        folder: the folder of the kubeconfig. A relative path of the program starts there.
        environ: the environment; `env` of the plugin is added.

    Raises:
        Refused: the kubeconfig's entry cannot be used, or the program is not installed.
        NotAllowed: the program failed, or returned no credentials.
    """
    command = _check(plugin, folder)
    mode = plugin.get("interactiveMode") or "IfAvailable"
    interactive = mode != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if mode == "Always" and not interactive:
        raise Refused(
            f"The login program {command} of the kubeconfig asks questions, and there is no terminal.",
            "Run the command in a terminal, or use another user in the kubeconfig.",
        )
    info = json.dumps(exec_info(plugin, cluster, interactive=interactive))
    own = {entry["name"]: entry.get("value") or "" for entry in plugin.get("env") or []}
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *(plugin.get("args") or []),
            env={**environ, **own, "KUBERNETES_EXEC_INFO": info},
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Refused(
            f"The login program {command} of the kubeconfig cannot be started: {error.strerror}.",
            str(plugin.get("installHint") or "Install it, or use another user in the kubeconfig.").strip(),
        ) from None
    try:
        # It may write to the terminal, and ask.
        with activity(f"Waiting for the login program {command} of the kubeconfig", plain=True):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise NotAllowed(
            f"The login program {command} of the kubeconfig ended with {process.returncode}.",
            "Its message is above. Log in with it again.",
        )
    return _credentials(command, output, str(plugin["apiVersion"]))


def _check(plugin: Mapping[str, Any], folder: Path) -> str:
    check_fields("exec of the kubeconfig's user", plugin, EXEC)
    version, command = plugin.get("apiVersion"), str(plugin.get("command") or "")
    if version not in API_VERSIONS:
        raise Refused(
            f"exec of the kubeconfig's user has the apiVersion {str(version)[:100]}.",
            f"Allowed: {', '.join(API_VERSIONS)}. Update the login program, and write its entry anew.",
        )
    if not command:
        raise Refused("exec of the kubeconfig's user names no command.", "Write the user's entry anew.")
    mode = plugin.get("interactiveMode") or "IfAvailable"
    if mode not in INTERACTIVE_MODES:
        raise Refused(
            f"exec of the kubeconfig's user has the interactiveMode {str(mode)[:100]}.",
            f"Allowed: {', '.join(INTERACTIVE_MODES)}.",
        )
    for entry in plugin.get("env") or []:
        check_fields("env in exec of the kubeconfig's user", entry, {"name": TEXT, "value": TEXT})
        if not entry.get("name"):
            raise Refused("env in exec of the kubeconfig's user has an entry without a name.", "Name the variable.")
    path = os.path.expanduser(command)
    # A bare name is searched in PATH.
    return str(folder.absolute() / path) if os.sep in path else path


def _credentials(command: str, output: bytes, version: str) -> PluginCredentials:
    try:
        answer = json.loads(output)
        status = answer["status"]
        credentials = PluginCredentials(
            str(status.get("token") or ""),
            str(status.get("clientCertificateData") or ""),
            str(status.get("clientKeyData") or ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotAllowed(
            f"The login program {command} of the kubeconfig printed no ExecCredential with a status.",
            "Run it by hand; it may print a message in its place.",
        ) from None
    if answer.get("apiVersion") != version:
        raise NotAllowed(
            f"The login program {command} of the kubeconfig answers with apiVersion "
            f"{str(answer.get('apiVersion'))[:100]}, and its entry has {version}.",
            "Write the user's entry anew with this version of the program.",
        )
    if not credentials.token and not (credentials.certificate and credentials.key):
        raise NotAllowed(
            f"The login program {command} of the kubeconfig returned neither a token nor a certificate with its key.",
            "Log in with it again.",
        )
    return credentials

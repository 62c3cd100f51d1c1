"""What a context of the kubeconfig says about the connection: server, TLS, proxy, and who the user is.

Which fields there are is in `fields`; the rules are those of client-go.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ..errors import Refused
from . import kubeconfig
from .exec_plugin import PluginCredentials, run_plugin
from .fields import CLUSTER, USER, check_fields
from .kubeconfig import Kubeconfig
from .proxies import proxy_for
from .tls import NamedContext, tls_context


@dataclass(frozen=True)
class Credentials:
    """The connection of a context.

    Attributes:
        server: URL of the API server.
        headers: headers of every request: the token, and whom the user acts as.
        tls: the TLS settings.
        proxy: URL of the proxy; None: there is none.
    """

    server: str
    headers: tuple[tuple[str, str], ...]
    tls: NamedContext
    proxy: str | None


def service_account(environ: Mapping[str, str] = os.environ) -> Credentials:
    """Returns the connection of this pod's ServiceAccount. Kubernetes replaces its token, so it is read each time.

    Raises:
        Refused: it is not complete.
    """
    folder = kubeconfig.SERVICE_ACCOUNT
    try:
        token, authority = ((folder / name).read_text() for name in ("token", "ca.crt"))
        host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    except (OSError, KeyError) as error:
        raise Refused(f"The ServiceAccount of this pod is not complete: {error}.", "Name a kubeconfig.") from None
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    headers = (_header("Authorization", f"Bearer {token}", "The token of this pod's ServiceAccount"),)
    return Credentials(server, headers, tls_context(authority, "", ""), proxy_for(server, environ=environ))


async def read_credentials(config: Kubeconfig, context: str, environ: Mapping[str, str] = os.environ) -> Credentials:
    """Reads the connection of a context, and runs the user's login program if there is one.

    Args:
        config: the kubeconfig files.
        context: name of a context that they have.
        environ: the environment: proxies, certificates, and that of the login program.

    Raises:
        Refused: a field is missing, wrong or not supported.
        NotAllowed: the login program failed.
    """
    names = config.entry("contexts", context)[1]
    cluster_file, cluster = config.entry("clusters", str(names.get("cluster") or ""))
    user_file, user = config.entry("users", str(names["user"])) if names.get("user") else (cluster_file, {})
    check_fields("The cluster of the kubeconfig's context", cluster, CLUSTER)
    check_fields("The user of the kubeconfig's context", user, USER)
    server = str(cluster.get("server") or "")
    if not _is_url(server):
        raise Refused(
            f"The cluster of the kubeconfig's context {context} has no server that can be used.",
            "Allowed: https://HOST:PORT.",
        )
    authority = _material("certificate-authority", cluster, cluster_file)
    plugin, token = PluginCredentials(), _token(user, user_file)
    # As in client-go, nothing secret goes over plain http.
    secure = server.lower().startswith("https:")
    if user.get("exec") and secure and not token and not user.get("username"):
        encoded = {"certificate-authority-data": base64.b64encode(authority.encode()).decode()} if authority else {}
        plugin = await run_plugin(user["exec"], {**cluster, **encoded}, user_file.parent, environ)
    certificate = plugin.certificate or _material("client-certificate", user, user_file)
    key = plugin.key or _material("client-key", user, user_file)
    name, verify = str(cluster.get("tls-server-name") or ""), not cluster.get("insecure-skip-tls-verify")
    return Credentials(
        server=server,
        headers=(*(_authorization(user, token or plugin.token) if secure else ()), *_impersonation(user)),
        tls=tls_context(authority, certificate, key, server_name=name, verify=verify, environ=environ),
        proxy=proxy_for(server, str(cluster.get("proxy-url") or ""), environ),
    )


def _is_url(server: str) -> bool:
    try:
        parts = urlsplit(server)
        plain = server.split() == [server] and not parts.query and not parts.fragment
        return plain and parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False  # the port


def _header(name: str, value: str, field: str) -> tuple[str, str]:
    """Returns a header of which no error can show the value. Spaces around it are removed, as Go does."""
    value = value.strip()
    if any(character < " " or character == "\x7f" for character in value):
        raise Refused(
            f"{field} has a line break or another control character (value not shown).", "Remove the character."
        )
    return name, value


def _material(field: str, entry: Mapping[str, Any], file: Path) -> str:
    """Returns a certificate or key as PEM, inline or from its file; empty: there is none."""
    if encoded := entry.get(f"{field}-data"):
        text = str(encoded)
        if "-----" in text:
            return text
        try:
            return base64.b64decode(text, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(f"{field}-data of the kubeconfig {file} is not base64 of a PEM text.") from None
    if name := entry.get(field):
        return _read(field, file, str(name))
    return ""


def _read(field: str, file: Path, name: str) -> str:
    path = file.parent / name  # relative to the file that names it
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Refused(f"{field} of the kubeconfig {file}: {path} cannot be read: {reason}.") from None


def _token(user: Mapping[str, Any], file: Path) -> str:
    # As in client-go, a file is read again at each login and comes first.
    if name := user.get("tokenFile"):
        token = _read("tokenFile", file, str(name)).strip()
        if not token:
            raise Refused(f"tokenFile of the kubeconfig {file}: {file.parent / str(name)} is empty.", "Log in again.")
        return token
    if user.get("token"):
        return str(user["token"])
    provider = user.get("auth-provider")
    if not provider:
        return ""
    settings = provider.get("config")
    if provider.get("name") == "oidc" and isinstance(settings, Mapping) and settings.get("id-token"):
        return str(settings["id-token"])
    raise Refused(
        "auth-provider of the kubeconfig's user is not supported: kubectl has removed it too.",
        "Use the exec entry of your cloud's login program.",
    )


def _authorization(user: Mapping[str, Any], token: str) -> list[tuple[str, str]]:
    if token:
        return [_header("Authorization", f"Bearer {token}", "The token of the kubeconfig's user")]
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}"
        return [("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")]
    if user.get("password"):
        raise Refused("The kubeconfig's user has a password and no username.", "Add `username`.")
    return []


def _impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the headers of `as`, `as-groups`, `as-uid` and `as-user-extra` (client-go's impersonating round
    tripper)."""
    name = user.get("as")
    if not name:
        if any(user.get(field) for field in ("as-groups", "as-uid", "as-user-extra")):
            raise Refused("The kubeconfig's user has as-groups, as-uid or as-user-extra, and no `as`.", "Add `as`.")
        return []
    headers = [("Impersonate-User", str(name), "as")]
    headers += [("Impersonate-Group", str(group), "as-groups") for group in user.get("as-groups") or []]
    if uid := user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(uid), "as-uid"))
    for key, values in (user.get("as-user-extra") or {}).items():
        escaped = quote(str(key).lower(), safe="!#$&'*+-.^_`|~")
        headers += [(f"Impersonate-Extra-{escaped}", str(value), "as-user-extra") for value in values or []]
    return [_header(header, value, f"{field} of the kubeconfig's user") for header, value, field in headers]

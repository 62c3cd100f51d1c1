"""What a context of the kubeconfig says about the connection: server, TLS, proxy, and who the user is.

The fields are those of client-go (`tools/clientcmd/api/v1`). A field that is not supported is refused by name: the
request would otherwise be sent as another user, or in another way, than kubectl sends it.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import certifi

from ..errors import Refused
from . import kubeconfig
from .exec_plugin import PluginCredentials, run_plugin
from .kubeconfig import Kubeconfig
from .proxies import proxy_for

CLUSTER_FIELDS = {
    *("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority"),
    *("certificate-authority-data", "proxy-url", "disable-compression", "extensions"),
}
USER_FIELDS = {
    *("client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile"),
    *("as", "as-uid", "as-groups", "as-user-extra", "username", "password", "auth-provider", "exec", "extensions"),
}


@dataclass(frozen=True)
class Credentials:
    """The connection of a context.

    Attributes:
        server: URL of the API server.
        headers: headers of every request: the token, and whom the user acts as.
        tls: the TLS settings.
        tls_server_name: name in the server's certificate; empty: that of the URL.
        proxy: URL of the proxy; None: there is none.
    """

    server: str
    headers: tuple[tuple[str, str], ...]
    tls: ssl.SSLContext
    tls_server_name: str
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
    headers = (("Authorization", f"Bearer {token.strip()}"),)
    return Credentials(server, headers, tls_context(authority, "", ""), "", proxy_for(server, environ=environ))


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
    _refuse_unknown("cluster", cluster, CLUSTER_FIELDS)
    _refuse_unknown("user", user, USER_FIELDS)
    server = str(cluster.get("server") or "")
    if urlsplit(server).scheme not in ("https", "http"):
        raise Refused(f"The cluster of the kubeconfig's context {context} has no server.", "Allowed: an https:// URL.")
    authority = _material("certificate-authority", cluster, cluster_file)
    plugin, token = PluginCredentials(), _token(user, user_file)
    # As in client-go, nothing secret goes over plain http.
    secure = server.lower().startswith("https:")
    if user.get("exec") and not token and secure:
        encoded = {"certificate-authority-data": base64.b64encode(authority.encode()).decode()} if authority else {}
        plugin = await run_plugin(user["exec"], {**cluster, **encoded}, environ)
    certificate = plugin.certificate or _material("client-certificate", user, user_file)
    key = plugin.key or _material("client-key", user, user_file)
    verify = not cluster.get("insecure-skip-tls-verify")
    return Credentials(
        server=server,
        headers=(*(_authorization(user, token or plugin.token) if secure else ()), *_impersonation(user)),
        tls=tls_context(authority, certificate, key, verify=verify, environ=environ),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy=proxy_for(server, str(cluster.get("proxy-url") or ""), environ),
    )


def tls_context(
    authority: str, certificate: str, key: str, *, verify: bool = True, environ: Mapping[str, str] = os.environ
) -> ssl.SSLContext:
    """Returns the TLS settings of a connection.

    Args:
        authority: the authorities to trust, as PEM; empty: those of this machine, SSL_CERT_FILE and SSL_CERT_DIR.
        certificate: the client's certificate as PEM; empty: none.
        key: its key as PEM.
        verify: whether the server's certificate is verified.
        environ: the environment.

    Raises:
        Refused: one of them is no PEM, or SSL_CERT_FILE or SSL_CERT_DIR does not exist.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority:
        try:
            context.load_verify_locations(cadata=authority)
        except ssl.SSLError:
            raise Refused("certificate-authority of the kubeconfig's cluster is no certificate.") from None
    else:
        _trust_this_machine(context, environ)
    if bool(certificate) != bool(key):
        missing = "client-key" if certificate else "client-certificate"
        raise Refused(f"The kubeconfig's user has no {missing}.", "A client certificate needs both.")
    if certificate:
        _load_client_certificate(context, certificate, key)
    return context


def _trust_this_machine(context: ssl.SSLContext, environ: Mapping[str, str]) -> None:
    for name, exists in (("SSL_CERT_FILE", os.path.isfile), ("SSL_CERT_DIR", os.path.isdir)):
        if (place := environ.get(name)) and not all(map(exists, place.split(os.pathsep))):
            raise Refused(f"{name}={place}: not there.", "Set it to certificates of this machine, or remove it.")
    context.load_default_certs()  # OpenSSL reads both variables
    if not environ.get("SSL_CERT_FILE") and not environ.get("SSL_CERT_DIR"):
        context.load_verify_locations(certifi.where())


def _load_client_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    # Python reads a client's certificate only from files. They are gone when this ends.
    with tempfile.TemporaryDirectory(prefix="rayjobs-") as folder:
        certificate_file, key_file = Path(folder, "certificate"), Path(folder, "key")
        for file, content in ((certificate_file, certificate), (key_file, key)):
            file.touch(mode=0o600)
            file.write_text(content)
        try:
            # An empty password: OpenSSL would otherwise ask for one at the terminal.
            context.load_cert_chain(certificate_file, key_file, password="")
        except ssl.SSLError:
            raise Refused(
                "client-certificate and client-key of the kubeconfig's user cannot be used: they do not belong "
                "together, or the key is encrypted."
            ) from None


def _refuse_unknown(kind: str, entry: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(str(field)[:60] for field in entry if field not in known)
    if unknown:
        raise Refused(
            f"The {kind} of the kubeconfig's context has {', '.join(unknown)}, which is not supported.",
            "Remove it, or use another context. Without it the connection would differ from kubectl's.",
        )


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
        return _read("tokenFile", file, str(name)).strip()
    if token := user.get("token"):
        return str(token)
    provider = user.get("auth-provider")
    if not provider:
        return ""
    settings = provider.get("config") or {} if isinstance(provider, Mapping) else {}
    if isinstance(provider, Mapping) and provider.get("name") == "oidc" and settings.get("id-token"):
        return str(settings["id-token"])
    raise Refused(
        "auth-provider of the kubeconfig's user is not supported: kubectl has removed it too.",
        "Use the exec entry of your cloud's login program.",
    )


def _authorization(user: Mapping[str, Any], token: str) -> list[tuple[str, str]]:
    if token:
        return [("Authorization", f"Bearer {token}")]
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}"
        return [("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")]
    return []


def _impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the headers of `as`, `as-groups`, `as-uid` and `as-user-extra` (client-go's impersonating round
    tripper)."""
    name = user.get("as")
    if not name:
        if any(user.get(field) for field in ("as-groups", "as-uid", "as-user-extra")):
            raise Refused("The kubeconfig's user has as-groups, as-uid or as-user-extra, and no `as`.", "Add `as`.")
        return []
    headers = [("Impersonate-User", str(name))]
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or []]
    if uid := user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(uid)))
    for key, values in (user.get("as-user-extra") or {}).items():
        escaped = quote(str(key).lower(), safe="!#$&'*+-.^_`|~")
        headers += [(f"Impersonate-Extra-{escaped}", str(value)) for value in values]
    return headers

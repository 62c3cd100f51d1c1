"""TLS of a connection to an API server, as Go's crypto/tls, which kubectl uses, does it."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

import certifi

from ..errors import Refused

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----", re.ASCII)


class NamedContext(ssl.SSLContext):
    """TLS settings with the name that the server's certificate must have, whatever the route: httpcore ignores
    `sni_hostname` behind an http proxy.

    Attributes:
        server_name: the name; empty: that of the URL.
    """

    server_name = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.server_name or server_hostname, session)


def tls_context(
    authority: str,
    certificate: str,
    key: str,
    *,
    server_name: str = "",
    verify: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> NamedContext:
    """Returns the TLS settings of a connection.

    Args:
        authority: the authorities to trust, as PEM; empty: those of this machine, SSL_CERT_FILE and SSL_CERT_DIR.
        certificate: the client's certificate as PEM; empty: none.
        key: its key as PEM.
        server_name: name in the server's certificate; empty: that of the URL.
        verify: whether the server's certificate is verified.
        environ: the environment.

    Raises:
        Refused: one of them is no PEM, or SSL_CERT_FILE or SSL_CERT_DIR does not exist.
    """
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = server_name
    # Go trusts each certificate of the list, not only those that signed themselves.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority:
        try:
            # Only the certificates: comments may have letters that Python does not accept.
            context.load_verify_locations(cadata="\n".join(_CERTIFICATE.findall(authority)))
        except (ssl.SSLError, ValueError):
            raise Refused(
                "certificate-authority of the kubeconfig's cluster is no certificate.", "Allowed: certificates in PEM."
            ) from None
    else:
        _trust_this_machine(context, environ)
    if bool(certificate) != bool(key):
        missing = "client-key" if certificate else "client-certificate"
        raise Refused(f"The kubeconfig's user has no {missing}.", "A client certificate needs both.")
    if certificate:
        _load_client_certificate(context, certificate, key)
    return context


def _trust_this_machine(context: ssl.SSLContext, environ: Mapping[str, str]) -> None:
    file, folders = environ.get("SSL_CERT_FILE", ""), environ.get("SSL_CERT_DIR", "").split(os.pathsep)
    if file and not os.path.isfile(file):
        raise _not_there("SSL_CERT_FILE", file)
    context.load_default_certs()  # OpenSSL reads both variables
    for folder in filter(None, folders):
        if not os.path.isdir(folder):
            raise _not_there("SSL_CERT_DIR", folder)
        # As Go, each file: OpenSSL reads only those whose names are hashes of their content.
        for each in sorted(Path(folder).iterdir()):
            with contextlib.suppress(OSError):
                context.load_verify_locations(each)
    if not file and not any(folders):
        context.load_verify_locations(certifi.where())


def _not_there(name: str, place: str) -> Refused:
    return Refused(f"{name}={place}: not there.", "Set it to certificates of this machine, or remove it.")


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

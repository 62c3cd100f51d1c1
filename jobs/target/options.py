"""The options that choose the target."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import Refused

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)?")
_WRITE_HEADERS = 'Write it like \'{"name": "value"}\'.'


@dataclass(frozen=True)
class TargetOptions:
    """The options of every command that has a target, and of `connect`. All are optional.

    Args:
        address: URL of a Jobs API, instead of a cluster of the stack.
        outputs: Path of an outputs file.
        stack: Name of a stack of the Pulumi project around the working directory.
        cluster: Name of the RayCluster, if the stack has several.
        context: Kube context, instead of the stack's.
        kubeconfig: Path of a kubeconfig, instead of the stack's.
        token_file: Path of a file with the token, for `address`. With `keeper`: of a keeper whose cluster has no token.
        headers: Sent with every request.
        verify: TLS with `address`: True, False, or the path of a CA file or directory.
        local: A Ray on this machine, which is started on first use.
        allow_unauthenticated: Accept a remote `address` without a token.
        port: Local port of the tunnel; 0 is a free one.
        ledger: Path of the ledger; a file of this user by default.
        keeper: URL of the cluster's keeper, instead of the stack's.
    """

    address: str | None = None
    outputs: str | None = None
    stack: str | None = None
    cluster: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    token_file: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    verify: bool | str = True
    local: bool = False
    allow_unauthenticated: bool = False
    port: int = 0
    ledger: str | None = None
    keeper: str | None = None

    def check(self) -> None:
        """Raises Refused if options contradict each other, or a header cannot be sent."""
        check_headers(self.headers, "--headers")
        chosen = [f"--{name}" for name in ("local", "address", "outputs", "stack") if getattr(self, name)]
        if len(chosen) > 1:
            raise Refused(f"{' and '.join(chosen)} name different targets.", "Use one of them.")
        if self.address is not None or self.local:
            target = "--local" if self.local else "--address"
            for name in ("cluster", "context", "kubeconfig"):
                if getattr(self, name):
                    raise Refused(f"--{name} has no effect with {target}.", "Leave one of them out.")
            if self.local and self.token_file:
                raise Refused(
                    "--token-file has no effect with --local.", "Leave it out: the local Ray has its own token."
                )
        elif self.token_file and not self.keeper:
            raise Refused(
                "--token-file has no effect without --address or --keeper.", "The token is in the cluster's Secret."
            )


def parse_headers(text: str | None, source: str) -> dict[str, str]:
    """Reads `{"name": "value"}` as JSON. The text may be a secret, so errors do not repeat it. Raises Refused."""
    if not text:
        return {}
    try:
        headers = json.loads(text)
    except ValueError:
        raise Refused(f"{source} is not JSON.", _WRITE_HEADERS) from None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise Refused(f"{source} must map names to strings.", _WRITE_HEADERS)
    check_headers(headers, source)
    return headers


def check_headers(headers: Mapping[str, str], source: str) -> None:
    """Raises Refused for a header that HTTP cannot carry (RFC 9110, 5.1 and 5.5), or that is there twice. Its value may
    be a secret."""
    names: set[str] = set()
    for number, (name, value) in enumerate(headers.items(), 1):
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise Refused(
                f"{source}: the name of header {number} cannot be sent.",
                "Allowed: letters, digits and !#$%&'*+-.^_`|~, without spaces.",
            )
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise Refused(
                f"{source}: the value of {name} cannot be sent.",
                "Allowed: ASCII letters, digits, punctuation and inner spaces. Is there a line break at its end?",
            )
        if name.lower() in names:
            raise Refused(
                f"{source}: the header {name} is there twice.", "Upper and lower case make no difference in its name."
            )
        names.add(name.lower())

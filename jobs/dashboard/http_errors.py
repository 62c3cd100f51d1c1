"""Converts unsuccessful answers of a dashboard, or of a proxy in front of it, into errors of jobs.errors."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit

from ..errors import JobsError, NotAllowed, PackageTooLarge, Refused, ServerFault, command
from ..spec.shown import shown
from ._httpx import httpx

# The headers of an answer that an error is made of.
ERROR_HEADERS = frozenset({"content-type", "www-authenticate"})
# The extension of an answer that has the target of a redirect.
LOCATION = "location"
# The header for Ray's token, and the second one, which Ray reads if the first is absent:
# ray/_private/authentication/http_token_authentication.py.
AUTHORIZATION = "Authorization"
RAY_AUTHORIZATION = "X-Ray-Authorization"
# The same file: what Ray answers without a token, and to a wrong one.
_RAY_401 = "Unauthorized: Missing authentication token"
_RAY_403 = "Forbidden: Invalid authentication token"
_CHECK = "Check the address: it is the dashboard's, without /api. Check the proxy in front of it too."
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
# Words of host names and paths of login pages: oauth2-proxy, Google IAP, Keycloak, Dex, Okta, Entra, SAML.
_LOGIN_WORDS = re.compile(
    r"(?:^|[/._-])(?:log-?in|sign[_-]?in|oauth2?|oidc|openid-connect|saml2?|sso|auth|authorize)(?:$|[/._-])"
)
_LOGIN_HOSTS = ("accounts.google.com", "login.microsoftonline.com")
_LOGIN_QUERY = frozenset({"client_id", "redirect_uri", "SAMLRequest", "rd"})


class UnusableAnswer(ServerFault):
    """An answer that is refused as it is, so that another request is of no use."""


def error_of_response(response: httpx.Response, where: str) -> JobsError:
    """Converts an unsuccessful answer into an error of jobs.errors."""
    status, body = response.status_code, response.text
    kind = response.headers.get("content-type", "").split(";")[0]
    if status == 401:
        return _unauthorized(response, where)
    if status == 403:
        return _forbidden(response, where)
    if status in _REDIRECTS:
        return _redirect(response, where)
    if status == 404:
        return ServerFault(
            f"{where} has no Ray Jobs API at this path (HTTP 404).",
            "Check the address: it is the dashboard's, without /api.",
            status=status,
            body=body,
        )
    if status == 413:
        return PackageTooLarge(
            f"{where} refuses a body of this size (HTTP 413).",
            f"{command('submit --plan')} shows what is large; .rayignore or the excludes of runtime_env leave it out.",
        )
    if status == 400:
        return Refused(f"{where} refuses the request: {last_line(body)}")
    if kind == "text/html":
        return ServerFault(
            f"{where} answered HTTP {status} with a web page: a proxy in between, not Ray.",
            "Check the address, and the proxy in front of it.",
            status=status,
            body=body,
        )
    return ServerFault(f"{where} answered HTTP {status}: {last_line(body)}", status=status, body=body)


def last_line(body: str) -> str:
    """Returns the last line of a traceback, which names the error."""
    lines = [line.strip() for line in body.splitlines() if line.strip() and line.strip() != "."]
    return shown(lines[-1], 500) if lines else ""


def _unauthorized(response: httpx.Response, where: str) -> NotAllowed:
    own = _has_own_authorization(response)
    scheme = response.headers.get("www-authenticate", "").split(" ")[0]
    if scheme and scheme.lower() != "bearer":
        return NotAllowed(
            f"{where} requires a login of the kind {shown(scheme, 40)} (HTTP 401): a proxy asks for it, not Ray.",
            "It does not accept the Authorization header of --headers."
            if own
            else "Send it with --headers or RAY_JOB_HEADERS, such as "
            '--headers \'{"Authorization": "Basic ..."}\'. '
            f"The token of Ray is then sent in {RAY_AUTHORIZATION}.",
        )
    if own and RAY_AUTHORIZATION in response.request.headers and response.text.startswith(_RAY_401):
        return NotAllowed(
            f"{where}: the proxy accepts your Authorization header, and Ray got no token (HTTP 401).",
            f"Let the proxy pass {RAY_AUTHORIZATION} on. Every Ray with token authentication (2.52 or newer) reads it.",
        )
    return NotAllowed(
        f"{where} requires a token (HTTP 401).",
        "With --address: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or name a file with --token-file.",
    )


def _forbidden(response: httpx.Response, where: str) -> NotAllowed:
    if _has_own_authorization(response) and response.text.startswith(_RAY_403):
        return NotAllowed(
            f"{where}: Ray refuses the Authorization header of --headers (HTTP 403). It reads this header before "
            f"{RAY_AUTHORIZATION}.",
            "If it is for a proxy, let the proxy remove it after its own check (nginx: "
            '`proxy_set_header Authorization "";`). Without a proxy in between, as through the tunnel of a stack, '
            "remove it from --headers and RAY_JOB_HEADERS.",
        )
    return NotAllowed(
        f"{where} refuses this token (HTTP 403).", "It may have been rotated, or belong to another cluster."
    )


def _has_own_authorization(response: httpx.Response) -> bool:
    """Whether the request had the user's Authorization header: this client sends its own in both headers."""
    headers = response.request.headers
    return AUTHORIZATION in headers and headers[AUTHORIZATION] != headers.get(RAY_AUTHORIZATION)


def _redirect(response: httpx.Response, where: str) -> JobsError:
    """Returns the error for a redirect, which is never followed: a token and a job go only where the user says.

    The query of its target is not shown: it may contain secrets.
    """
    status = response.status_code
    request = urlsplit(str(response.request.url))
    target = _target_of(request, response.extensions.get(LOCATION))
    if target is None:
        message = f"{where} answered with a redirect (HTTP {status}) that names no usable target."
        return UnusableAnswer(message, _CHECK, status=status, body=response.text)
    place = f"{target.netloc.rpartition('@')[2]}{target.path}"
    address = _address_of(request, target)
    if address is None and _is_login(target):
        return NotAllowed(
            f"{where} requires a login in a browser: it redirects to {shown(place, 200)} (HTTP {status}).",
            "A command cannot log in there. Send what the proxy accepts from programs with --headers or "
            'RAY_JOB_HEADERS, such as --headers \'{"Authorization": "Bearer ..."}\' or its cookie, or use the tunnel '
            "of a stack in place of --address.",
        )
    if address is None or address == _address_of(request, request):
        remedy = _CHECK
    elif (request.scheme, target.scheme) == ("https", "http"):
        remedy = "Others could read the token there. Let the proxy redirect to https (X-Forwarded-Proto)."
    else:
        remedy = f"If this is your Ray, write `--address {shown(address, 200)}`."
    return UnusableAnswer(
        f"{where} redirects to {shown(address or f'{target.scheme}://{place}', 200)} (HTTP {status}). A redirect is "
        "not followed: a token and a job are sent only to the address that you name.",
        remedy,
        status=status,
        body=response.text,
    )


def _target_of(request: SplitResult, location: str | None) -> SplitResult | None:
    """Returns the target of a redirect, whose location may be relative; None if it is no http or https URL."""
    if location is None:
        return None
    try:
        target = urlsplit(urljoin(request.geturl(), location))
        _ = target.port
    except ValueError:
        return None
    return target if target.scheme in ("http", "https") and target.hostname else None


def _address_of(request: SplitResult, target: SplitResult) -> str | None:
    """Returns the --address with which the request would go to the target; None if there is none."""
    api_path = request.path[max(0, request.path.rfind("/api/")) :].rstrip("/")
    path = target.path.rstrip("/")
    netloc = target.netloc.rpartition("@")[2]
    return f"{target.scheme}://{netloc}{path.removesuffix(api_path)}" if path.endswith(api_path) else None


def _is_login(target: SplitResult) -> bool:
    place = f"{target.hostname}{target.path}".lower()
    return (
        target.hostname in _LOGIN_HOSTS
        or _LOGIN_WORDS.search(place) is not None
        or not _LOGIN_QUERY.isdisjoint(parse_qs(target.query))
    )

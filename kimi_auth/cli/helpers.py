"""The shapes in which other programs (git, docker, kubectl) ask a credential helper for a token. Pure, but for `read_request`.

git: gitcredentials(7) and git-credential(1). docker: docker-credential-helpers. kubectl: ExecCredential of
client.authentication.k8s.io. Where the program says for which host it asks, only the platform's API gets an answer.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from kimi_auth.errors import ConfigError
from kimi_auth.support.language import tr
from kimi_auth.support.urls import origin_of
from kimi_auth.token import Token

__all__ = [
    "NOT_FOUND",
    "OPERATIONS",
    "Request",
    "cluster_of",
    "docker_answer",
    "git_answer",
    "is_for",
    "kubectl_answer",
    "read_request",
]

OPERATIONS: dict[str, tuple[str, ...]] = {"git": ("get", "store", "erase"), "docker": ("get", "store", "erase", "list")}

USERNAME = "oauth2"
"""The user name beside a token, where the program names none: servers that take a token as password ignore it."""

NOT_FOUND = "credentials not found in native keychain"
"""What docker expects of a helper on standard output where it has no credential for a server."""

REQUEST_BYTES_MAX = 1 << 16
GIT_SERVER = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
"""A server as git names it: host[:port]. git decodes percents first, so a host may hold any character, and be read as the
start of a URL that is another host's for git."""

EXEC_INFO = "KUBERNETES_EXEC_INFO"
EXEC_APIS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Request(NamedTuple):
    """What a program asks for: the server as it names it, its origin ("" for none), and a user name and password, where it
    has them."""

    server: str = ""
    origin: str = ""
    username: str = ""
    password: str = ""


def read_request(form: str) -> Request:
    """The request on standard input, for "git" or "docker"; too long or not text: an empty one."""
    raw = sys.stdin.buffer.read(REQUEST_BYTES_MAX + 1) if sys.stdin is not None else b""
    try:
        text = raw.decode() if len(raw) <= REQUEST_BYTES_MAX else ""
    except UnicodeDecodeError:
        text = ""
    return _of_git(text) if form == "git" else _of_docker(text)


def _of_git(text: str) -> Request:
    said = dict(line.partition("=")[::2] for line in text.partition("\n\n")[0].split("\n"))
    server = f"{said.get('protocol', '')}://{said.get('host', '')}"
    origin = origin_of(server) if GIT_SERVER.fullmatch(server) else ""
    return Request(server, origin, said.get("username", ""), said.get("password", ""))


def _of_docker(text: str) -> Request:
    """A registry is named by its host, or by a URL."""
    server = text.strip()
    return Request(server, origin_of(server if "://" in server else f"https://{server}"))


def is_for(request: Request, api_base: str) -> bool:
    """Whether a helper's request is for the platform's API. A registry that is named without a scheme may be plain http
    on loopback."""
    origin = origin_of(api_base)
    return request.origin == origin or ("://" not in request.server and origin == origin_of(f"http://{request.server}"))


def git_answer(pair: Token, request: Request, *, ends: bool) -> list[str]:
    """The lines for `get`."""
    lines = [f"username={request.username or USERNAME}", f"password={pair.access_token}"]
    return [*lines, f"password_expiry_utc={int(pair.expires_at_s)}"] if ends else lines


def docker_answer(pair: Token, request: Request) -> dict[str, str]:
    """The object for `get`."""
    return {"ServerURL": request.server, "Username": USERNAME, "Secret": pair.access_token}


def kubectl_answer(pair: Token, environ: Mapping[str, str], *, ends: bool) -> dict[str, object]:
    """An ExecCredential in the version that kubectl asks for; its end is RFC 3339, in UTC."""
    asked = _exec_info(environ).get("apiVersion")
    status = {"token": pair.access_token}
    if ends:
        end = datetime.fromtimestamp(int(pair.expires_at_s), UTC)
        status = {"expirationTimestamp": end.strftime("%Y-%m-%dT%H:%M:%SZ"), **status}
    version = asked if asked in EXEC_APIS else EXEC_APIS[0]
    return {"apiVersion": version, "kind": "ExecCredential", "status": status}


def cluster_of(environ: Mapping[str, str]) -> str | None:
    """The URL of the API server that kubectl asks for, where the kubeconfig has `provideClusterInfo: true`; else None.
    Raises ConfigError where it is not certain."""
    spec = _exec_info(environ).get("spec", {})
    if not isinstance(spec, dict):
        raise _unreadable()
    if "cluster" not in spec:
        return None
    server = spec["cluster"].get("server") if isinstance(spec["cluster"], dict) else None
    if not isinstance(server, str):
        raise _unreadable()
    return server


def _exec_info(environ: Mapping[str, str]) -> dict[str, object]:
    """What kubectl says of its request, {} where it says nothing. Raises ConfigError where it cannot be read."""
    text = environ.get(EXEC_INFO, "")
    try:
        info = json.loads(text or "{}") if len(text) <= REQUEST_BYTES_MAX else None
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise _unreadable()
    return info


def _unreadable() -> ConfigError:
    return ConfigError(
        tr("{variable} cannot be read, so the cluster is not known", variable=EXEC_INFO),
        hint=tr("kubectl sets it; in a shell: unset {variable}", variable=EXEC_INFO),
    )

"""The faults that a login meets, as data: what goes wrong at which request, and how it must end.

A fault is met in the middle of a life that is otherwise good: two polls are pending before it and one after it, and where
it does not end the login the person approves afterwards. `test_faults.py` lives them and reports the result.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final, Literal

from life.world import Reply, ScriptedServer, answer, oauth_error, rotated

Stage = Literal["code", "poll", "refresh", "models"]


@dataclass(frozen=True)
class Fault:
    """`replies` come one after the other where the answer at `stage` was expected; `times` repeats them (None: for ever).

    `ends`: for a login the rest state of device_login; for a refresh the error's `code`, "" where a token was handed out.
    `says`: a part of what the person is told, "" where nothing has to be said. `then`: after a refresh, what the next try a
    while later gives. `final`: why no approval could have helped any more, for a login that fails. `pause_s`: how long the
    next poll must wait.
    """

    stage: Stage
    name: str
    replies: tuple[Reply, ...]
    ends: str
    says: str = ""
    times: int | None = 1
    final: str = ""
    then: str = ""
    pause_s: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.stage}: {self.name}"

    def script(self) -> Iterable[Reply]:
        if self.times is None:
            return itertools.cycle(self.replies)
        return self.replies * self.times


HTML: Final = "<html><head><title>Sign in to the hotel</title></head><body><h1>Welcome</h1></body></html>"
PAGE: Final = answer(200, HTML, content_type="text/html")
EVIL: Final = "\x1b[2J\x1b]0;owned\x07\u202eevil\r\nAll is well"


def page(status: int, **headers: str) -> bytes:
    """A web page where an OAuth answer should be."""
    return answer(status, HTML, content_type="text/html", **headers)


def soon(server: ScriptedServer) -> bytes:
    """429 with a date (RFC 9110 §10.2.3), an hour ahead by the machine's own clock."""
    del server
    return answer(429, "", retry_after=formatdate(time.time() + 3600, usegmt=True))


def raw(text: str) -> bytes:
    return answer(200, text, content_type="application/json")


FRAMEWORK: Final = answer(404, {"timestamp": "2026-11-24", "status": 404, "error": "Not Found", "path": "/token"})

UNTIDY: Final = {
    "a number of 5000 digits": (b'"x": 0', b'"x": ' + b"9" * 5000),
    "Infinity": (b'"x": 0', b'"x": Infinity'),
    "scope twice": (b'"x": 0', b'"scope": "another"'),
    "Latin-1": (b'"x": 0', b'"x": "caf\xe9"'),
    "a raw line end in a string": (b'"x": 0', b'"x": "a\nb"'),
}
"""Instead of a member of a token answer that no reader needs: none of it may cost the tokens beside it."""


def untidy(change: tuple[bytes, bytes]) -> Callable[[ScriptedServer], bytes]:
    """A token answer with `change` in its body."""

    def reply(server: ScriptedServer) -> bytes:
        body = json.dumps({**server.grant(), "x": 0}).encode().replace(*change)
        return answer(200, body, content_type="application/json")

    return reply


def codes(**changes: object) -> Callable[[ScriptedServer], bytes]:
    return lambda server: answer(200, server.codes(**changes))


def tokens(**changes: object) -> Callable[[ScriptedServer], bytes]:
    return lambda server: rotated(server, **changes)


def twice_named(make: Callable[[ScriptedServer], dict[str, object]]) -> Callable[[ScriptedServer], bytes]:
    """A JSON object with one key twice: two readers could see two different answers."""

    def reply(server: ScriptedServer) -> bytes:
        whole = json.dumps(make(server))
        return raw(whole[:-1] + ", " + whole[1:])

    return reply


def spaced(server: ScriptedServer) -> bytes:
    """A refresh token with spaces, which is a refresh token like any other (RFC 6749 appendix A.17)."""
    given = server.grant(refresh_token="a refresh token")
    server.refresh_token = "a refresh token"
    return answer(200, given)


def lost(server: ScriptedServer) -> Reply:
    """The server rotates, and its answer never arrives."""
    server.grant()
    return "drop"


def complete_then_cut(server: ScriptedServer) -> bytes:
    """A complete JSON object under a Content-Length that promises more; then the connection ends."""
    head, _, body = answer(200, server.grant(), connection="close").partition(b"\r\n\r\n")
    return head.replace(b"-length: %d" % len(body), b"-length: %d" % (len(body) + 9)) + b"\r\n\r\n" + body


def _codes() -> Iterable[Fault]:
    def fault(name: str, reply: Reply, ends: str = "signed_in", says: str = "", **more: Any) -> Fault:
        return Fault("code", name, (reply,), ends, says, **more)

    no_use = "no code that a person could approve"
    yield fault("500", answer(500), says="returned a server error")
    yield fault("503 for ever", answer(503), "failed", "returned a server error", times=None, final=no_use)
    yield fault("429 with seconds", answer(429, retry_after="7"), says="is rate-limiting this client")
    yield fault("429 with a date", soon, says="is rate-limiting this client")
    yield fault("a captive portal's page, once", PAGE, says="not OAuth")
    yield fault("a captive portal's page for ever", PAGE, "failed", "not OAuth", times=None, final=no_use)
    yield fault("a redirect to a portal", answer(302, location="http://portal.example/"), says="not OAuth")
    yield fault("404, HTML", page(404), says="not OAuth")
    yield fault("407, HTML", page(407), says="not OAuth")
    yield fault("dropped", "drop", says="cannot be reached")
    yield fault("reset", "reset", says="cannot be reached")
    yield fault("broken off in the middle", "broken off", says="cannot be reached")
    yield fault("an empty body", answer(200), says="not OAuth")
    yield fault("a body of 2 MiB", answer(200, b"A" * (2 << 20)), says="not OAuth")
    yield fault("NULs", answer(200, b"\0" * 100, content_type="application/json"), says="not OAuth")
    yield fault("404, a framework's JSON", FRAMEWORK, says="not OAuth")
    bad = answer(200, b'{"device_code": "\xff\xfe"}')
    yield fault("invalid UTF-8", bad, "failed", "answers without a device code", final=no_use)
    yield fault("a key twice", twice_named(ScriptedServer.codes))
    yield fault("a device code with spaces", codes(device_code="a device code"))
    yield fault("a list", raw("[]"), says="not OAuth")
    yield fault("deeply nested", raw("[" * 100_000), says="not OAuth")
    for code in ("invalid_client", "unauthorized_client", "invalid_request"):
        yield fault(code, oauth_error(code, 401), "failed", "refuses this program", final=no_use)
    yield fault("an unknown error", oauth_error("moon_phase"), "failed", "moon_phase", final=no_use)
    yield fault("an error with escape sequences", oauth_error("x", 400, EVIL), "failed", "evil", final=no_use)
    for field in ("device_code", "user_code", "verification_uri"):
        without = codes(**{field: None})
        yield fault(f"without {field}", without, "failed", "answers without a device code", final=no_use)
    for field in ("verification_uri_complete", "interval", "expires_in"):
        yield fault(f"without {field}", codes(**{field: None}))
    for url in (
        "file:///etc/passwd",
        "--help",
        "javascript:alert(1)",
        "http://far.example/device",
        f"https://a/{EVIL}",
    ):
        unsafe = codes(verification_uri=url)
        yield fault(f"verification_uri {url!a}", unsafe, "failed", "not plain https", final=no_use)
        yield fault(f"verification_uri_complete {url!a}", codes(verification_uri_complete=url))
    yield fault("a user code with escape sequences", codes(user_code=EVIL), "failed", "without a", final=no_use)
    yield fault("a user code that is a number", codes(user_code=12345678), "failed", "without a", final=no_use)
    for value in (86_400, 0, -5, "7", "soon", None, 1e300, True):
        yield fault(f"interval {value!r}", codes(interval=value) if value is not None else codes(interval=[]))
    for life_s in (0.001, 1):
        yield fault(f"expires_in {life_s!r} for ever", codes(expires_in=life_s), "expired", "code expired", times=None)
    for value in ("600", -1, 0, 1e300, "never", 90):
        yield fault(f"expires_in {value!r}", codes(expires_in=value))


def _polls() -> Iterable[Fault]:
    def fault(name: str, reply: Reply, ends: str = "signed_in", says: str = "", **more: Any) -> Fault:
        return Fault("poll", name, (reply,), ends, says, **more)

    spoken = "an OAuth error that ends the request (RFC 8628 §3.5)"
    spent = "the code has given its tokens (RFC 8628 §3.5)"
    yield fault("access_denied", oauth_error("access_denied"), "denied", "was refused")
    yield fault("expired_token", oauth_error("expired_token"), says="code expired")
    yield fault("slow_down", oauth_error("slow_down"), says="every 10 s", pause_s=12)
    yield fault("slow_down three times", oauth_error("slow_down"), says="every 20 s", times=3, pause_s=24)
    yield fault("pending with a 200", oauth_error("authorization_pending", 200))
    yield fault("not approved", oauth_error("authorization_pending"), "expired", "code expired", times=None)
    yield fault("500", answer(500), says="returned a server error")
    yield fault("500 for ever", answer(500), "expired", "returned a server error", times=None)
    yield fault("server_error", oauth_error("server_error"), says="returned a server error")
    yield fault("temporarily_unavailable", oauth_error("temporarily_unavailable"), says="returned a server error")
    yield fault("429 with seconds", answer(429, retry_after="42"), says="is rate-limiting this client", pause_s=42)
    yield fault("429 with a date", soon, says="is rate-limiting this client", pause_s=60)
    yield fault("429 with nonsense", answer(429, retry_after="soon"), says="is rate-limiting this client")
    slower = answer(429, {"error": "slow_down"}, retry_after="42")
    yield fault("slow_down with Retry-After", slower, says="every 10 s", pause_s=42)
    yield fault(
        "pending with Retry-After", answer(400, {"error": "authorization_pending"}, retry_after="42"), pause_s=42
    )
    yield fault("404, a framework's JSON", FRAMEWORK, says="rejects the request")
    yield fault("403, a framework's JSON", answer(403, {"error": "Forbidden"}), says="not OAuth")
    for status in (403, 407, 408, 451):
        yield fault(f"{status}, HTML", page(status), says="not OAuth")
    yield fault("403, HTML, for ever", page(403), "expired", "not OAuth", times=None)
    yield fault("404, HTML", page(404), says="rejects the request")
    yield fault(
        "415 for ever",
        answer(415),
        "failed",
        "rejects the request (HTTP 415)",
        times=None,
        final="a client error that repeats says that the request is wrong",
    )
    yield fault("400 without a body", answer(400), says="rejects the request")
    yield fault("a redirect", answer(302, location="http://portal.example/"), says="not OAuth")
    yield fault("a captive portal for an hour", page(511), says="returned a server error", times=20)
    yield fault("dropped", "drop", says="cannot be reached")
    yield fault("reset", "reset", says="cannot be reached")
    yield fault("reset for ever", "reset", "expired", "cannot be reached", times=None)
    yield fault("400, 2 MiB", answer(400, b"<b>" + b"A" * (2 << 20)), says="rejects the request")
    yield fault("400, NULs", answer(400, b"\0" * 100, content_type="application/json"), says="rejects the request")
    yield fault("400, invalid UTF-8", answer(400, b'{"error": "access_denied\xff"}'), says="rejects the request")
    yield fault(
        "400, error twice", answer(400, '{"error":"slow_down","error":"access_denied"}'), says="rejects the request"
    )
    yield fault("400, error a number", answer(400, {"error": 7}), says="rejects the request")
    yield fault("invalid_grant", oauth_error("invalid_grant"), "failed", "its answer was lost", final=spoken)
    yield fault("invalid_client", oauth_error("invalid_client", 401), "failed", "refuses this program", final=spoken)
    yield fault("an unknown error", oauth_error("moon_phase"), "failed", "moon_phase", final=spoken)
    yield fault("an error with escape sequences", oauth_error("x", 400, EVIL), "failed", "evil", final=spoken)
    yield fault("200 without a token", answer(200, {}), "failed", "could not be read", final=spent)
    control = tokens(access_token="a\x1b[2Jb")
    yield fault("a token with control characters", control, "failed", "could not be read", final=spent)
    yield fault("a token of 70,000 characters", tokens(access_token="A" * 70_000), "failed", "read", final=spent)
    yield fault("a token that is a number", tokens(access_token=7), "failed", "could not be read", final=spent)
    other = tokens(token_type="mac")
    yield fault("a token of type mac", other, "failed", "are not bearer tokens", final=spent)
    yield fault("a token of type BEARER", tokens(token_type="BEARER"))
    for name, change in UNTIDY.items():
        # The code is spent by its first 200, whatever that looks like: who polls on loses the login.
        yield Fault("poll", name, (untidy(change), oauth_error("invalid_grant")), "signed_in")
    yield fault("complete, then cut off", complete_then_cut)
    for field in ("refresh_token", "expires_in", "scope", "token_type"):
        yield fault(f"without {field}", tokens(**{field: None}))
    for value in ("900", 0, -1, 0.001, 1e300, "never", True, [900]):
        yield fault(f"expires_in {value!r}", tokens(expires_in=value))


TRIES: Final = 6
"""So often one caller's patience has room for a try (at 0, 1, 3, 7 and 15 s), and the next one's for one more; where the
answer is lost, for another one a second later."""


def _refreshes() -> Iterable[Fault]:
    def fault(name: str, reply: Reply, ends: str = "", says: str = "", *, then: str = "", **more: Any) -> Fault:
        return Fault("refresh", name, (reply,), ends, says, then=then, **more)

    def transient(name: str, reply: Reply, says: str, *, times: int = TRIES) -> Fault:
        return fault(name, reply, "unreachable", says, times=times)

    yield fault("invalid_grant", oauth_error("invalid_grant"), "revoked", "ended the login", then="revoked")
    yield fault("invalid_grant, 401", oauth_error("invalid_grant", 401), "revoked", "ended the login", then="revoked")
    for code in ("invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"):
        yield fault(code, oauth_error(code, 401), "client_refused", "refuses this program")
    yield transient("an unknown error", oauth_error("moon_phase"), "moon_phase")
    yield transient("an error with escape sequences", oauth_error("x", 400, EVIL), "evil")
    # Over within the patience of the caller: it is waited out in the same call.
    yield fault("a captive portal's page, once", PAGE)
    yield fault("429, once", answer(429, retry_after="20"))
    yield fault("500", answer(500))
    yield fault("dropped", "drop")
    yield fault("reset", "reset")
    yield fault("broken off", "broken off")
    yield transient("500 again and again", answer(500), "returned a server error")
    yield transient("dropped again and again", "drop", "did not answer completely")
    yield transient("reset again and again", "reset", "did not answer completely")
    yield transient("broken off again and again", "broken off", "did not answer completely")
    yield transient("503 with Retry-After", answer(503, retry_after="120"), "returned a server error", times=1)
    yield transient("429 with seconds", answer(429, retry_after="120"), "is rate-limiting this client", times=1)
    yield transient("429 with a date", soon, "is rate-limiting this client", times=1)
    yield fault("rotated, and the answer lost", lost, "revoked", "ended the login", then="revoked")
    yield fault("temporarily_unavailable", oauth_error("temporarily_unavailable"))
    portal = "not OAuth"
    unreadable = "without a readable token"
    yield transient("a captive portal's page", PAGE, portal)
    for status in (400, 401, 403, 404, 407):
        yield transient(f"{status}, HTML", page(status), portal)
    yield transient("a redirect", answer(302, location="http://portal.example/"), portal)
    yield transient("200 without a body", answer(200), unreadable)
    yield transient("400 without a body", answer(400), portal)
    yield transient("a body of 2 MiB", answer(200, b"A" * (2 << 20)), unreadable)
    yield transient("NULs", answer(200, b"\0" * 100, content_type="application/json"), unreadable)
    yield transient("invalid UTF-8", answer(400, b'{"error": "invalid_grant\xff"}'), portal)
    yield transient("error twice", answer(400, '{"error":"slow_down","error":"invalid_grant"}'), portal)
    yield transient("200 without a token", answer(200, {}), unreadable)
    yield transient("200, the token a number", answer(200, {"access_token": 7}), unreadable)
    yield transient("200, control characters", answer(200, {"access_token": "a\x1b[2Jb"}), unreadable)
    yield fault("a token of type mac", tokens(token_type="mac"))
    yield fault("a refresh token with spaces", spaced)
    for name, change in UNTIDY.items():
        yield fault(name, untidy(change))
    yield fault("complete, then cut off", complete_then_cut)
    for field in ("refresh_token", "expires_in", "scope", "token_type"):
        yield fault(f"without {field}", without(field))
    for value in ("900", 0, -1, 0.001, 1e300, "never"):
        yield fault(f"expires_in {value!r}", tokens(expires_in=value))


def without(field: str) -> Callable[[ScriptedServer], bytes]:
    """A refresh answer that leaves a field out; without a new refresh token the old one stays good (RFC 6749 §6)."""

    def reply(server: ScriptedServer) -> bytes:
        before = server.refresh_token
        given = rotated(server, **{field: None})
        if field == "refresh_token":
            server.refresh_token = before
        return given

    return reply


def _models() -> Iterable[Fault]:
    def fault(name: str, reply: Reply, says: str = "", ends: str = "models_pending", times: int = 1) -> Fault:
        return Fault("models", name, (reply,), ends, says, times)

    yield fault("401", answer(401), "rejected the access token", times=2)
    yield fault("402, no membership", answer(402, {"error": {"message": "no membership"}}), "refuses this account")
    yield fault("403, a proxy", page(403), "a proxy refuses the request")
    yield fault("404, HTML", page(404), "no list of models")
    yield fault("429", answer(429, retry_after="60"), "no list of models")
    yield fault("500", answer(500), "no list of models")
    yield fault("HTML", PAGE, "no list of models")
    yield fault("a redirect", answer(302, location="http://portal.example/"), "no list of models")
    yield fault("dropped", "drop", "cannot be reached")
    yield fault("reset", "reset", "cannot be reached")
    yield fault("an empty body", answer(200), "no list of models")
    yield fault("an empty list", answer(200, {"data": []}), "no models that can be used")
    yield fault("a list of nonsense", answer(200, {"data": [7, None, {}, {"id": 8}]}), "no models that can be used")
    yield fault("no list", answer(200, {"data": {"id": "kimi"}}), "no list of models")
    yield fault("3 MiB of models", answer(200, {"data": [{"id": "m" * 100}] * 30_000}), "no list of models")
    hostile = ('"]\n[evil]\nx = "', "a.b", "k\x1b[2J", "\u202e", "", "x" * 500, "../../etc", "'", "日本", "k" + "\0")
    listed = [{"id": name, "display_name": EVIL, "context_length": "9" * 15} for name in hostile]
    yield fault("hostile ids and names", answer(200, {"data": listed}), ends="signed_in")


FAULTS: Final = (*_codes(), *_polls(), *_refreshes(), *_models())

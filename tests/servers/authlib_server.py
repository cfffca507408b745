"""Authlib's grants on a Flask app in a thread, instead of auth.kimi.com.

Authlib does the protocol (RFC 8628, RFC 6749 §6, RFC 7009, RFC 6750); what it leaves to its user is here: storage,
rotation with revocation of the whole family when a spent token returns, backoff, and a page to approve on.
"""
# mypy: disallow-subclassing-any=False, disallow-untyped-calls=False, disallow-untyped-decorators=False
# mypy: warn-return-any=False, disable-error-code="import-untyped"

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, ClassVar, Final

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from authlib.oauth2.rfc6749.grants import RefreshTokenGrant
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialMixin
from flask import Flask, Response, request
from werkzeug.serving import WSGIRequestHandler, make_server

from servers.real_server import CLIENT_ID, DEVICE_CODE_GRANT, RealServer, ServerClock, Settings

SCOPE: Final = "kimi-code"
SLOW_DOWN_STEP_S: Final = 5  # RFC 8628 §3.5
MODELS: Final = json.loads(Path(__file__).with_name("models.json").read_text())

logging.getLogger("authlib").setLevel(logging.INFO)  # at DEBUG it logs every token it issues


@dataclass
class Family:
    """Everything that grew from one approval."""

    revoked: bool = False


@dataclass
class Code(DeviceCredentialMixin):
    device_code: str = field(repr=False)
    user_code: str
    expires_at_s: float
    interval_s: float
    clock: ServerClock = field(repr=False)
    approved: bool | None = None
    due_at_s: float = 0.0

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_scope(self) -> str:
        return SCOPE

    def get_user_code(self) -> str:
        return self.user_code

    def is_expired(self) -> bool:
        return self.clock.now_s() >= self.expires_at_s


@dataclass
class Pair(TokenMixin):
    """One token answer: an access token and the refresh token that came with it."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    access_expires_at_s: float
    refresh_expires_at_s: float
    family: Family
    clock: ServerClock = field(repr=False)
    spent: bool = False

    def check_client(self, client: ClientMixin) -> bool:
        return client.get_client_id() == CLIENT_ID

    def get_scope(self) -> str:
        return SCOPE

    def is_expired(self) -> bool:
        return self.clock.now_s() >= self.access_expires_at_s

    def is_revoked(self) -> bool:
        return self.family.revoked


class PublicClient(ClientMixin):
    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_allowed_scope(self, scope: str | None) -> str:
        return SCOPE

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "none"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in (DEVICE_CODE_GRANT, "refresh_token")


class Server(AuthorizationServer):
    """Authlib's server with its storage: all in memory."""

    def __init__(self, app: Flask, settings: Settings, host: str, clock: ServerClock) -> None:
        self.settings, self.host, self.clock = settings, host, clock
        self.codes: dict[str, Code] = {}
        self.by_access: dict[str, Pair] = {}
        self.by_refresh: dict[str, Pair] = {}
        app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = lambda **_: secrets.token_urlsafe(32)
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = dict.fromkeys(
            (DEVICE_CODE_GRANT, "refresh_token"), settings.access_ttl_s
        )
        super().__init__(app)
        self.register_grant(PollGrant)
        self.register_grant(RotatingGrant)
        self.register_endpoint(DeviceEndpoint)
        self.register_endpoint(RevokeEndpoint)

    def query_client(self, client_id: str) -> PublicClient | None:
        return PublicClient() if client_id == CLIENT_ID else None

    def save_token(self, token: dict[str, str], oauth_request: Any) -> None:
        if oauth_request.credential:
            del self.codes[oauth_request.credential.device_code]  # a code gives tokens once
            family = Family()
        else:
            family = oauth_request.refresh_token.family
        now_s = self.clock.now_s()
        pair = Pair(
            access_token=token["access_token"],
            refresh_token=token["refresh_token"],
            access_expires_at_s=now_s + self.settings.access_ttl_s,
            refresh_expires_at_s=now_s + self.settings.refresh_ttl_s,
            family=family,
            clock=self.clock,
        )
        self.by_access[pair.access_token] = self.by_refresh[pair.refresh_token] = pair

    def undecided(self, typed: str) -> Code | None:
        """The code that a person typed, in any case and with any blanks, while it waits for a decision."""
        wanted = typed.replace(" ", "").replace("-", "").upper()
        waiting = (c for c in self.codes.values() if c.approved is None and not c.is_expired())
        return next((c for c in waiting if c.user_code.replace("-", "") == wanted), None)


class DeviceEndpoint(DeviceAuthorizationEndpoint):
    CLIENT_AUTH_METHODS: ClassVar = ["none"]

    @property
    def EXPIRES_IN(self) -> int:  # Authlib's name
        return int(self.server.settings.code_ttl_s)

    @property
    def INTERVAL(self) -> int:  # Authlib's name
        return int(self.server.settings.interval_s)

    def get_verification_uri(self) -> str:
        return f"{self.server.host}/device"

    def save_device_credential(self, client_id: str, scope: str | None, data: dict[str, Any]) -> None:
        self.server.codes[data["device_code"]] = Code(
            device_code=data["device_code"],
            user_code=data["user_code"],
            expires_at_s=self.server.clock.now_s() + data["expires_in"],
            interval_s=data["interval"],
            clock=self.server.clock,
        )


class PollGrant(DeviceCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["none"]

    def query_device_credential(self, device_code: str) -> Code | None:
        return self.server.codes.get(device_code)

    def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
        code = next(c for c in self.server.codes.values() if c.user_code == user_code)
        return None if code.approved is None else ("somebody", code.approved)

    def should_slow_down(self, credential: Code) -> bool:
        now_s = credential.clock.now_s()
        too_early = now_s < credential.due_at_s
        if too_early:
            credential.interval_s += SLOW_DOWN_STEP_S
        credential.due_at_s = now_s + credential.interval_s
        return too_early


class RotatingGrant(RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = ["none"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Pair | None:
        pair = self.server.by_refresh.get(refresh_token)
        if pair is None or pair.family.revoked or pair.clock.now_s() >= pair.refresh_expires_at_s:
            return None
        pair.family.revoked = pair.spent  # a spent token that returns was stolen or lost: the login ends for all
        return None if pair.spent else pair

    def authenticate_user(self, refresh_token: Pair) -> str:
        return "somebody"

    def revoke_old_credential(self, refresh_token: Pair) -> None:
        refresh_token.spent = True


class RevokeEndpoint(RevocationEndpoint):
    CLIENT_AUTH_METHODS: ClassVar = ["none"]

    def query_token(self, token_string: str, token_type_hint: str | None) -> Pair | None:
        return self.server.by_refresh.get(token_string) or self.server.by_access.get(token_string)

    def revoke_token(self, token: Pair, oauth_request: object) -> None:
        token.family.revoked = True


class Validator(BearerTokenValidator):
    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server

    def authenticate_token(self, token_string: str) -> Pair | None:
        return self.server.by_access.get(token_string)


PAGE: Final = """<!DOCTYPE html><html lang="en"><head><title>Device sign-in</title></head><body>
<h1>Device sign-in</h1><p>{message}</p>
<form method="post" action="/device">
<label>Code <input name="user_code" value="{code}" autofocus autocomplete="off"></label>
<button name="decision" value="approve">Approve</button> <button name="decision" value="deny">Refuse</button>
</form></body></html>"""


def build_app(settings: Settings, host: str, clock: ServerClock) -> Flask:
    """The WSGI application; one request at a time, so that a rotation is atomic."""
    app = Flask("authlib-server")
    server = Server(app, settings, host, clock)
    require_token = ResourceProtector()
    require_token.register_token_validator(Validator(server))

    @app.post("/api/oauth/device_authorization")
    def device_authorization() -> Response:
        return server.create_endpoint_response("device_authorization")

    @app.post("/api/oauth/token")
    def token() -> Response:
        return server.create_token_response()

    @app.post("/api/oauth/revoke")
    def revoke() -> Response:
        return server.create_endpoint_response("revocation")

    @app.get("/.well-known/oauth-authorization-server")
    def metadata() -> dict[str, object]:
        return {
            "issuer": host,
            "device_authorization_endpoint": f"{host}/api/oauth/device_authorization",
            "token_endpoint": f"{host}/api/oauth/token",
            "revocation_endpoint": f"{host}/api/oauth/revoke",
            "grant_types_supported": [DEVICE_CODE_GRANT, "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
        }

    @app.get("/device")
    def ask() -> str:
        return PAGE.format(
            message="Enter the code shown on your device.", code=escape(request.args.get("user_code", ""))
        )

    @app.post("/device")
    def decide() -> str | tuple[str, int]:
        code = server.undecided(request.form.get("user_code", ""))
        if code is None:
            return PAGE.format(message="This code is unknown, expired or already used.", code=""), 400
        code.approved = request.form.get("decision") == "approve"
        verdict = AuthlibServer.verdict["approve" if code.approved else "deny"]
        return f"<!DOCTYPE html><title>Device sign-in</title><h1>{verdict}</h1>"

    @app.get("/coding/v1/models")
    @require_token(SCOPE)
    def models() -> Any:
        return MODELS

    app.wsgi_app = _one_at_a_time(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _one_at_a_time(wsgi_app: Callable[..., Any]) -> Callable[..., Any]:
    lock = threading.Lock()

    def locked(*args: Any) -> Any:
        with lock:
            return wsgi_app(*args)

    return locked


class QuietHandler(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing: user codes are part of the addresses."""


class AuthlibServer(RealServer):
    """Authlib and Flask in a thread of this process; opaque access tokens only."""

    name = "authlib"
    answers: ClassVar = {"approve": {"decision": "approve"}, "deny": {"decision": "deny"}}
    verdict: ClassVar = {"approve": "Your device is signed in.", "deny": "The sign-in was refused."}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.jwt:
            raise ValueError("the Authlib server issues no JWTs; use oidc-provider")
        self._clock = ServerClock()
        self._http = make_server("127.0.0.1", 0, Flask("not-yet"), threaded=True, request_handler=QuietHandler)
        self.oauth_host = f"http://127.0.0.1:{self._http.server_port}"
        self._http.app = build_app(settings, self.oauth_host, self._clock)  # it needs to know its own port
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, name="authlib-server", daemon=True
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        if self.running:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()

    def _set_clock(self, ahead_s: float, stands_at_s: float | None) -> None:
        self._clock.set(ahead_s, stands_at_s)

"""What every endpoint works with: who may ask, a walk of the grant, noted refusals, and the answers that are no tokens."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

from kimi_auth.clock import Clock
from kimi_auth.errors import KimiAuthError, StorageError
from kimi_auth.session import Session, components_of
from kimi_auth.support.language import said_by
from kimi_auth.support.text import clean
from kimi_auth.token import key_fingerprint

from .audit import Audit
from .contracts import GrantContext, Wish
from .grant_life import ENDED, GrantHooks, GrantLife
from .guards import SlowDown
from .handles import Handles
from .login import ServedLogin
from .places import Places
from .records import Caller
from .server import door_of, peer_of

__all__ = ["NO_STORE", "Denied", "Endpoint", "Service", "caller_of", "json_response"]

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 §5.1
REFUSALS_NOTED_PER_MINUTE = 60
"""Lines in the audit log for refusals of one kind; the metrics count all of them."""

STANDS_S = 1.0
"""For so long a grant's answer may go on after its end, in seconds."""

RETRY_S = 2
"""When to ask again where no token is there now, in seconds."""

log: logging.Logger = logging.getLogger("kimi_auth.serving")


class Denied(Exception):
    """A request that gets no token: the answer's HTTP status, an `error` of RFC 6749 §5.2 and a sentence for the client; `why`
    is the word for the audit log."""

    def __init__(self, status: int, code: str, description: str, *, why: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.description = description
        self.why: str = why or code
        self.retry_after_s = retry_after_s

    def response(self) -> Response:
        """The answer."""
        headers = {"Retry-After": str(int(self.retry_after_s) + 1)} if self.retry_after_s else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return json_response({"error": self.code, "error_description": self.description}, self.status, headers)


class Service:
    """What every endpoint works with."""

    def __init__(
        self,
        login: ServedLogin,
        life: GrantLife,
        handles: Handles,
        audit: Audit,
        clock: Clock,
        *,
        client_id: str = "",
        platform: str = "",
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.login = login
        self.life = life
        self.handles = handles
        self.audit = audit
        self.clock = clock
        self.client_id = client_id
        self.platform = platform
        self.is_stopping = is_stopping
        self.counts: Counter[tuple[str, str]] = Counter()
        self._slow = SlowDown()
        self._noted: Counter[tuple[str, int]] = Counter()

    @classmethod
    def of(cls, session: Session, places: Places, is_stopping: Callable[[], bool]) -> Self:
        """The service of a session's login, with its grants and its audit log."""
        components = components_of(session)
        clock, files = components.clock, places.grants()
        audit, login = Audit(places.audit, clock.wall_s), ServedLogin(session)
        hooks = GrantHooks(files, audit, login, now_s=clock.wall_s, monotonic_s=clock.monotonic_s)
        oauth = session.platform.oauth
        return cls(
            login,
            GrantLife(hooks, observe=components.observe),
            files.handles(),
            audit,
            clock,
            client_id=oauth.client_id if oauth else "",
            platform=session.platform.id,
            is_stopping=is_stopping,
        )

    async def admitted(self, request: Request) -> str:
        """The id of the grant whose secret a request bears, "" for the owner at a socket of theirs. Raises Denied."""
        door = door_of(request.scope)
        if door.uids is not None and not door.grant:
            return ""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        return await self.grant_of(request, secret.strip() if scheme.lower() == "bearer" else "", status=401)

    async def grant_of_key(self, request: Request, key: str) -> str:
        """The id of the grant that an API key stands for at any endpoint: it is the grant's secret, or at its socket
        the access token of now, for a client with a credential file (kimi-code) sends no other key. An earlier token is
        refused as the API would, and the client renews; that is no guess, and slows nothing down. Raises Denied."""
        door = door_of(request.scope)
        if not door.grant or not self.login.has_had(key):
            return await self.grant_of(request, key, status=401)
        try:
            if await self.login.is_current(key):
                return door.grant
        except KimiAuthError as error:
            raise self.unavailable(error) from None
        self.refused(caller_of(request), "replaced", door.grant)
        raise Denied(401, "invalid_token", "this access token was replaced: renew it", why="replaced")

    async def grant_of(self, request: Request, text: str, *, status: int = 400) -> str:
        """The id of the grant that a handle or secret at any endpoint was made for. Raises Denied, after a wait that
        grows with each wrong one of the same source."""
        door, caller = door_of(request.scope), caller_of(request)
        handle = self.handles.read(text)
        code = "invalid_grant" if status == 400 else "invalid_token"
        if handle is not None and (handle.has_fp == "") == (status == 401) and door.grant in {"", handle.grant}:
            return handle.grant
        why = "missing" if not text else "forged" if handle is None else "other_grant"
        if text:
            self.refused(caller, why)
            await self._slow.wait(f"{caller.uid} {door.grant or door.name}", self.clock.monotonic_s())
        raise Denied(status, code, "this handle or secret is worth nothing here", why=why)

    async def ask(self, grant_id: str, caller: Caller, wish: Wish, *, status: int = 400) -> GrantContext:
        """Walks the grant for an endpoint, and returns what the walk found. Raises Denied where nothing may leave;
        `status` is for a grant that has ended."""
        if not grant_id:
            return await self._ask_as_owner(caller, wish)
        state, ctx = await self.life.ask(grant_id, caller, wish)
        if state in ENDED:
            self.refused(caller, state, grant_id)
            code = "invalid_grant" if status == 400 else "invalid_token"
            raise Denied(status, code, f"this grant is {state}; on the host: kimi-auth serve grant", why=state)
        if ctx.retry_after_s:
            self.refused(caller, "limited", grant_id)
            raise Denied(429, "slow_down", "this grant asks too often", retry_after_s=ctx.retry_after_s)
        if ctx.error is not None or ctx.token is None:
            raise self.unavailable(ctx.error)
        self.counts[wish.what, "grant"] += 1
        return ctx

    def standing(self, grant_id: str) -> Callable[[], Awaitable[bool]]:
        """Lets an endpoint that answers ask whether the grant still stands; its files are looked at once in `STANDS_S`."""
        looked_s = self.clock.monotonic_s()

        async def stands() -> bool:
            nonlocal looked_s
            now_s = self.clock.monotonic_s()
            if not grant_id or now_s - looked_s < STANDS_S:
                return True
            looked_s = now_s
            state, _ = await self.life.look(grant_id)
            return state not in ENDED

        return stands

    async def _ask_as_owner(self, caller: Caller, wish: Wish) -> GrantContext:
        try:
            token = await self.login.token_for(wish)
            self.audit.write(wish.what, caller, fp=key_fingerprint(token.access_token), about=wish.about)
        except KimiAuthError as error:
            raise self.unavailable(error) from None
        self.counts[wish.what, "owner"] += 1
        return GrantContext("", caller, wish, token=token)

    def unavailable(self, error: KimiAuthError | None) -> Denied:
        """The answer of every endpoint while there is no token. It is no end of the grant: the owner may sign in
        again."""
        self.counts["unavailable", error.code if error else ""] += 1
        said = clean(str(said_by(error))) if error else ""
        if error is None or isinstance(error, StorageError):  # its sentence has a path of the host
            said = "the host cannot write what it has to; its own log says why"
            if error is not None and self._may_note("storage"):
                log.warning("no token leaves: %s", error.line)
        return Denied(503, "temporarily_unavailable", f"no token now: {said}", retry_after_s=RETRY_S)

    def _may_note(self, why: str) -> bool:
        """Whether the service notes a refusal: not if so many of its kind came in a minute that they would fill the disk."""
        minute = int(self.clock.monotonic_s() // 60)
        if self._noted["", 0] != minute:
            self._noted.clear()
            self._noted["", 0] = minute
        self._noted[why, minute] += 1
        return self._noted[why, minute] <= REFUSALS_NOTED_PER_MINUTE

    def refused(self, caller: Caller, why: str, grant_id: str = "") -> None:
        """Counts a refusal of an endpoint and writes it down; the log's own failure changes no refusal."""
        self.counts["refused", why] += 1
        if not self._may_note(why):
            return
        try:
            self.audit.write("refused", caller, why=why, id=grant_id)
        except StorageError as error:
            log.warning("a refusal is not in the audit log: %s", error.line)


def caller_of(request: Request) -> Caller:
    """Who asks, for the audit log."""
    peer, door = peer_of(request.scope), door_of(request.scope)
    return Caller(peer.uid, peer.pid, door.name) if peer else Caller(door=door.name)


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that is never cached."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(body, status, {**NO_STORE, **(headers or {})}, "application/json")


Endpoint = Callable[[Service, Request], Awaitable[Response]]

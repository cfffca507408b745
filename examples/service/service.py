"""You will see many people sign in on one page, each with a login of their own, served by replicas that share a database.

README.md says how to start it. A cookie leads to an account, an account to its row in PostgreSQL; whichever replica is asked
hands that person's live token to the API. No token is ever in a page, a cookie or the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from psycopg.rows import DictRow, dict_row
from starlette.middleware.trustedhost import TrustedHostMiddleware

from kimi_auth import BearerAuth, KimiAuthError, Notice, NotSignedIn, Session, SignInEnded, SilentView

DATABASE = os.environ["KIMI_AUTH_STORE"]
ORIGIN = os.environ.get("SERVICE_ORIGIN", "").rstrip("/")  # "" on this machine only
FOLDER = Path(os.environ.get("SERVICE_FOLDER") or Path.home() / ".local" / "state" / "kimi-service")
FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
IS_PUBLIC = bool(ORIGIN)
if IS_PUBLIC and not ORIGIN.startswith("https://"):
    raise SystemExit("SERVICE_ORIGIN begins with https://: a session cookie is a password")
COOKIE = "__Host-session" if IS_PUBLIC else "session"
COOKIE_S, SIGN_IN_S, BEAT_S, DEAD_S = 30 * 86_400, 900.0, 1.0, 15
COOKIE_KEPT: Any = {"path": "/", "secure": IS_PUBLIC, "httponly": True, "samesite": "lax"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
IS_IN = {"fresh", "expiring", "usable", "expired", "in_doubt"}


class Database:
    """One connection, made again after the database was away; each statement may run twice."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection[DictRow] | None = None
        self._lock = asyncio.Lock()

    async def ask(self, statement: str, **values: object) -> list[dict[str, Any]]:
        async with self._lock:
            for is_last in (False, True):
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = await psycopg.AsyncConnection.connect(
                            DATABASE, autocommit=True, connect_timeout=5, prepare_threshold=None, row_factory=dict_row
                        )
                    cursor = await self._connection.execute(statement, values)
                    return await cursor.fetchall() if cursor.description else []
                except psycopg.OperationalError:
                    await self.close()
                    if is_last:
                        raise
        raise AssertionError

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


database = Database()
api = httpx.AsyncClient(timeout=30.0)
sign_ins: dict[bytes, asyncio.Task[None]] = {}


@lru_cache(maxsize=10_000)
def session_of(account: str) -> Session:
    """A person's login, as this replica uses it; KIMI_AUTH_STORE says where it lies."""
    return Session(home=FOLDER, account=account)


async def me_of(account: str) -> httpx.Response:
    """Asks the API with the live token; after a 401 once more, with a renewed one."""
    session = session_of(account)
    return await api.get(f"{session.api_origin}{session.platform.me_path}", auth=BearerAuth(session))


async def name_of(account: str) -> str:
    """What the platform calls the account of a login, "" where it does not say it now."""
    with suppress(KimiAuthError, httpx.HTTPError, ValueError, AttributeError):
        return str((await me_of(account)).json().get("nickname") or "")
    return ""


class CodeView(SilentView):
    """Keeps the newest code. It is no secret; the device code, which is one, stays within the login."""

    code, link = "", ""

    def tell(self, notice: Notice) -> None:
        if notice.code is not None:
            self.code = notice.code.user_code
            self.link = notice.code.verification_uri_complete or notice.code.verification_uri


async def sign_in(cookie: bytes, account: str) -> None:
    """Runs one device login to its end, and writes into the row how it ended. One whose row has gone meanwhile, because the
    person signed out at another replica, is ended again."""
    beat = asyncio.create_task(beating(cookie, view := CodeView()))
    try:
        await session_of(account).login(view, timeout_s=SIGN_IN_S)
        state, said = "signed_in", await name_of(account)
    except KimiAuthError as error:
        state, said = "failed", error.message
    finally:
        beat.cancel()
        sign_ins.pop(cookie, None)
    sql = "UPDATE service.sessions SET state = %(state)s, said = %(said)s WHERE cookie = %(cookie)s RETURNING account"
    if not await database.ask(sql, cookie=cookie, state=state, said=said) and state == "signed_in":
        await session_of(account).logout()


async def beating(cookie: bytes, view: CodeView) -> None:
    """Writes the code into the row, and while it runs, that the sign-in still has its replica."""
    sql = "UPDATE service.sessions SET code = %(code)s, link = %(link)s, seen_at = now() WHERE cookie = %(cookie)s"
    while True:
        with suppress(psycopg.OperationalError):
            await database.ask(sql, cookie=cookie, code=view.code, link=view.link)
        await asyncio.sleep(BEAT_S)


def hash_of(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()


def form_token(cookie: str) -> str:
    """What only a page for this cookie can send back."""
    return hmac.new(cookie.encode(), b"form", hashlib.sha256).hexdigest()


async def row_of(request: Request) -> dict[str, Any] | None:
    """The row of a browser; None for one that has not begun to sign in."""
    sql = (
        f"SELECT *, seen_at > now() - interval '{DEAD_S} s' AS is_live FROM service.sessions WHERE cookie = %(cookie)s"
    )
    return next(iter(await database.ask(sql, cookie=hash_of(request.cookies.get(COOKIE, "")))), None)


async def check_form(request: Request) -> None:
    """A POST counts from our own page only: its origin (RFC 6454 §7), and the token of the form."""
    expected = ORIGIN or f"http://{request.headers.get('host')}"
    sent = parse_qs((await request.body())[:4096].decode("ascii", "replace")).get("form", [""])[0]
    is_ours = hmac.compare_digest(sent.encode(), form_token(request.cookies.get(COOKIE, "")).encode())
    if request.headers.get("origin") != expected or not is_ours:
        raise HTTPException(403, "use the buttons of this page")


def with_cookie(response: Response, cookie: str) -> Response:
    response.set_cookie(COOKIE, cookie, max_age=COOKIE_S, **COOKIE_KEPT)
    return response


def page(cookie: str, text: str, *buttons: tuple[str, str], again_s: int = 0) -> Response:
    """`text` is HTML; buttons are (path, label). A browser without a cookie gets one that leads nowhere yet."""
    made = cookie or secrets.token_urlsafe(32)
    forms = "".join(
        f'<form method="post" action="{path}"><input type="hidden" name="form" value="{form_token(made)}">'
        f"<button>{label}</button></form>"
        for path, label in buttons
    )
    again = f'<meta http-equiv="refresh" content="{again_s}">' if again_s else ""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<title>Service</title>'
    response = HTMLResponse(f"{head}<h1>Service</h1>{text}{forms}", headers=HEADERS)
    return response if cookie else with_cookie(response, made)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:  # a sign-in that was approved is stored all the same; the rows of the others say what happened
        for task in (tasks := list(sign_ins.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await api.aclose()
        await database.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)
app.add_middleware(  # no other name leads here (DNS rebinding)
    TrustedHostMiddleware, allowed_hosts=[urlsplit(ORIGIN).hostname or ""] if IS_PUBLIC else ["127.0.0.1", "localhost"]
)


@app.get("/")
async def show(request: Request) -> Response:
    """The page of a browser's state. While a sign-in waits it asks again by itself."""
    cookie, row = request.cookies.get(COOKIE, ""), await row_of(request)
    begin, leave = ("/login", "Sign in"), ("/logout", "Sign out")
    if row is None:
        return page(cookie, "<p>You are not signed in.</p>", begin)
    safe = {name: html.escape(str(value or "")) for name, value in row.items()}
    if row["state"] == "waiting" and row["is_live"]:
        if not row["code"]:
            return page(cookie, "<p>Asking for a code …</p>", again_s=1)
        text = f'<p>Open <a href="{safe["link"]}" rel="noreferrer">{safe["link"]}</a></p><p>Code: <b>{safe["code"]}</b></p>'
        text += "<p>Approve it only if you started this sign-in.</p>"
        return page(cookie, text, ("/logout", "Cancel"), again_s=2)
    status = await run_in_threadpool(session_of(row["account"]).status)  # a replica may have ended behind the approval
    if status.state in IS_IN and row["state"] != "failed":
        name = safe["said"] or html.escape(await name_of(row["account"])) or "an account that gives no name"
        return page(cookie, f"<p>Signed in as <b>{name}</b> ({html.escape(status.state)}).</p>", leave)
    said = {"failed": safe["said"], "waiting": "The sign-in was interrupted: its replica ended."}.get(row["state"])
    return page(cookie, f"<p>{said or 'This login has ended.'} Please sign in again.</p>", begin)


@app.post("/login")
async def login(request: Request) -> Response:
    """Begins a sign-in, under a new cookie: one that was planted in the browser leads to no login."""
    await check_form(request)
    if (old := await row_of(request)) is not None:
        await forget(old)
    cookie, account = secrets.token_urlsafe(32), f"p-{secrets.token_hex(12)}"
    await database.ask("DELETE FROM service.sessions WHERE state <> 'signed_in' AND seen_at < now() - interval '1 day'")
    sql = "INSERT INTO service.sessions (cookie, account) VALUES (%(cookie)s, %(account)s) ON CONFLICT DO NOTHING"
    await database.ask(sql, cookie=hash_of(cookie), account=account)
    sign_ins[hash_of(cookie)] = asyncio.create_task(sign_in(hash_of(cookie), account))
    return with_cookie(RedirectResponse("/", 303, HEADERS), cookie)


@app.post("/logout")
async def logout(request: Request) -> Response:
    await check_form(request)
    if (row := await row_of(request)) is not None:
        await forget(row)
    response = RedirectResponse("/", 303, HEADERS)
    response.delete_cookie(COOKIE, **COOKIE_KEPT)
    return response


async def forget(row: dict[str, Any]) -> None:
    """Ends a browser's login, at the platform too, then its session. A sign-in that waits is ended by its own replica."""
    if (waiting := sign_ins.get(row["cookie"])) is not None:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    with suppress(NotSignedIn):
        await session_of(row["account"]).logout()
    await database.ask("DELETE FROM service.sessions WHERE cookie = %(cookie)s", cookie=row["cookie"])


@app.get("/api/me")
async def me(request: Request) -> Response:
    """Whatever a service wants of the platform, asked with this person's token."""
    if (row := await row_of(request)) is None:
        raise NotSignedIn("this browser is not signed in")
    answer = await me_of(row["account"])
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise SignInEnded("the platform does not take this login any more")
    if answer.status_code != httpx.codes.OK:
        raise HTTPException(502, f"the platform answers {answer.status_code}")
    return JSONResponse(answer.json(), headers=HEADERS)


@app.exception_handler(KimiAuthError)
@app.exception_handler(psycopg.OperationalError)
@app.exception_handler(httpx.HTTPError)
async def no_answer(_: Request, error: Exception) -> Response:
    """Without a login 401, for everything else 503: what happened, and the next step. Texts of others may name hosts."""
    is_over, is_ours = isinstance(error, (NotSignedIn, SignInEnded)), isinstance(error, KimiAuthError)
    said = {"error": "unreachable", "message": type(error).__name__, "next": "try again later"}
    if is_ours:
        said = {"error": error.code, "message": error.message, "next": "open / and sign in" if is_over else error.hint}
    return JSONResponse(said, 401 if is_over else 503, headers=HEADERS)

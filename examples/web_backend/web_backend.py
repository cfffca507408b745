"""You will see one sign-in serve a web backend of two worker processes: its page shows the code, and no request meets a 401.

    pip install 'kimi-auth[emulator]'      # for Starlette and uvicorn
    uvicorn --workers 2 --host 127.0.0.1 --port 8000 --app-dir examples/web_backend web_backend:app

Then open http://127.0.0.1:8000/ and sign in; `curl http://127.0.0.1:8000/ask` asks the platform, `/status` says how things
are. `KIMI_CODE_OAUTH_HOST` and `KIMI_CODE_BASE_URL` point it at another server: `kimi-auth emulator` prints both.

Workers share nothing but files: the credential, its lock, and in a folder of this program the code of the sign-in that one
of them has begun.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from kimi_auth import BearerAuth, KimiAuthError, Notice, NotSignedIn, Session, SignInEnded, Unreachable

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
FOLDER = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kimi-web-backend"
"""What the workers of this program share; its user's alone."""


class SignIn:
    """One device login at a time, however many workers there are: the one that holds the lock runs it and notes its code in
    a file, the others read that. A file without anybody who holds the lock is what an ended worker left, and is not shown."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._file, self._lock_file = FOLDER / "login.json", FOLDER / "login.lock"
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts a login in this worker, unless this or another one has one under way."""
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._lock()
        try:
            lock.acquire()
        except Timeout:
            return
        self._file.unlink(missing_ok=True)
        self._task = asyncio.create_task(self._run(lock))

    def shown(self) -> dict[str, str]:
        """What people should read: the code to approve, or why the last login did not end well; {} for nothing."""
        said: dict[str, str] = {}
        with suppress(FileNotFoundError):
            said = json.loads(self._file.read_bytes())
        return said if "message" in said or self._is_under_way() else {}

    async def stop(self) -> None:
        """Ends a login that this worker has under way; an approved login is stored all the same."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, lock: FileLock) -> None:
        try:
            report = await self._session.login(self)
            self._file.unlink(missing_ok=True)
            if report.error is not None:
                self._note(message=report.error.line)
        except KimiAuthError as error:
            self._note(message=error.line)
        finally:
            lock.release()

    def tell(self, notice: Notice) -> None:
        """The login's view: only the code is worth keeping. It is no secret; the device code, which is one, stays behind."""
        if notice.kind == "code" and notice.code is not None:
            url = notice.code.verification_uri_complete or notice.code.verification_uri
            self._note(url=url, code=notice.code.user_code)

    async def left(self) -> None:
        """A login is not cancelled here; it ends when it is approved, denied or too late."""
        await asyncio.Event().wait()

    def _note(self, **said: str) -> None:
        whole = self._file.with_suffix(".new")  # another worker reads the old one or this one, never a part
        whole.write_text(json.dumps(said))
        whole.replace(self._file)

    def _lock(self) -> FileLock:
        return FileLock(self._lock_file, timeout=0, mode=0o600, fallback_to_soft=False, preserve_lock_file=True)

    def _is_under_way(self) -> bool:
        if not self._lock_file.exists():
            return False
        try:
            with self._lock():
                return False
        except Timeout:
            return True


def described(session: Session, sign_in: SignIn) -> dict[str, Any]:
    """How things are, for programs and for the page; nothing of it is secret."""
    status = session.status()
    return {
        "worker": os.getpid(),
        "platform": status.platform_name,
        "state": status.state,
        "seconds_left": round(status.left_s),
        "sign_in": sign_in.shown(),
    }


def page(about: Mapping[str, Any]) -> str:
    """The page; everything that is not written here is escaped."""
    safe = {name: html.escape(str(value)) for name, value in about.items()}
    said = {name: html.escape(value) for name, value in about["sign_in"].items()}
    waits, is_in = "code" in said, about["state"] in {"fresh", "expiring", "usable", "expired", "in_doubt"}
    parts = [f"<h1>{safe['platform']}</h1>", f"<p>{safe['state']}, {safe['seconds_left']} s left</p>"]
    if waits:
        parts.append(
            f'<p>Open <a href="{said["url"]}" rel="noreferrer">{said["url"]}</a></p><p>Code: <b>{said["code"]}</b></p>'
        )
        parts.append("<p>Approve it only if you started this sign-in.</p>")
    elif "message" in said:
        parts.append(f"<p>{said['message']}</p>")
    if not waits:
        way = "logout" if is_in else "login"
        parts.append(
            f'<form method="post" action="/{way}"><button>{"Sign out" if is_in else "Sign in"}</button></form>'
        )
    again = '<meta http-equiv="refresh" content="2">' if waits else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<title>{safe["platform"]}</title>{"".join(parts)}'
    )


def show(request: Request) -> Response:
    return HTMLResponse(page(described(request.state.session, request.state.sign_in)), headers=HEADERS)


def status(request: Request) -> Response:
    return JSONResponse(described(request.state.session, request.state.sign_in), headers=HEADERS)


async def ask(request: Request) -> Response:
    """The platform's models, asked for with the token of now: stands for whatever a backend wants of the platform."""
    answer = await request.state.api.get(f"{request.state.session.api_origin}/models")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise SignInEnded("the platform does not take this login any more")
    if answer.status_code != httpx.codes.OK:
        raise Unreachable(f"the platform answers {answer.status_code}")
    return JSONResponse(
        {"worker": os.getpid(), "models": [model["id"] for model in answer.json()["data"]]}, headers=HEADERS
    )


async def login(request: Request) -> Response:
    if not _is_from_our_page(request):
        return _forbidden()
    request.state.sign_in.begin()
    return RedirectResponse("/", status_code=303, headers=HEADERS)


async def logout(request: Request) -> Response:
    if not _is_from_our_page(request):
        return _forbidden()
    await request.state.session.logout()
    return RedirectResponse("/", status_code=303, headers=HEADERS)


def _is_from_our_page(request: Request) -> bool:
    """No other site may press our buttons: browsers say with each POST where it comes from (RFC 6454 §7)."""
    return request.headers.get("origin") == f"{request.url.scheme}://{request.headers.get('host')}"


def _forbidden() -> Response:
    return JSONResponse({"error": "forbidden", "next": "use the buttons of this page"}, 403, headers=HEADERS)


def no_token(_: Request, error: Exception) -> Response:
    """Without a login 401, for everything else 503: what happened, and the next step."""
    assert isinstance(error, KimiAuthError)
    is_over = isinstance(error, (NotSignedIn, SignInEnded))
    said = {"error": error.code, "message": error.message, "next": "open / and sign in" if is_over else error.hint}
    return JSONResponse(said, 401 if is_over else 503, headers=HEADERS)


def no_answer(_: Request, error: Exception) -> Response:
    """The platform could not be reached."""
    said = {"error": "unreachable", "message": type(error).__name__, "next": "try again later"}
    return JSONResponse(said, 503, headers=HEADERS)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    """Of each worker: one session, renewed in the background, and one client for all requests."""
    session = Session()
    sign_in = SignIn(session)
    async with session.kept_fresh(), httpx.AsyncClient(auth=BearerAuth(session), timeout=30.0) as api:
        try:
            yield {"session": session, "sign_in": sign_in, "api": api}
        finally:
            await sign_in.stop()


app = Starlette(
    routes=[
        Route("/", show),
        Route("/status", status),
        Route("/ask", ask),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ],
    # A foreign name that points to 127.0.0.1 is not this server (DNS rebinding).
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    exception_handlers={KimiAuthError: no_token, httpx.HTTPError: no_answer},
    lifespan=lifespan,
)

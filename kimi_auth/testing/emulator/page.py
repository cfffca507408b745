"""The HTML of the approval page: pure functions from data to text.

Works without JavaScript, by keyboard, at a phone's width, in light and dark. `html` escapes every value that is not
`Html`, so no caller can forget it.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Final
from urllib.parse import quote

from .records import Device, DeviceCode


class Html(str):
    """Text that is markup already."""


def html(template: str, /, **values: object) -> Html:
    """The approval page's `template` with its {names} filled in, escaped unless they are Html."""
    safe = {name: value if isinstance(value, Html) else escape(str(value)) for name, value in values.items()}
    return Html(template.format_map(safe))


STYLE: Final = resources.files(__package__).joinpath("page.css").read_text("utf-8")

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Referrer-Policy": "same-origin",  # under no-referrer a browser hides the Origin of our own form, too
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

_SHELL: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title} · Emulator</title>
<style>{style}</style>
</head>
<body>
<p class="badge" role="note">Emulator: not the real Kimi service</p>
<main>
{main}
</main>
<footer>Nothing here reaches a real account. Everything is forgotten when the emulator stops.</footer>
</body>
</html>
"""

_ENTRY: Final = """<h1>Sign in a device</h1>
<p class="soft">Type the code that your terminal shows.</p>
{problem}
<form method="get" action="/device">
<label for="user_code">Code</label>
<input type="text" id="user_code" name="user_code" value="{typed}" placeholder="ABCD-EFGH" maxlength="40" required
 autofocus autocomplete="off" autocapitalize="characters" spellcheck="false"{described}>
<button type="submit">Continue</button>
</form>"""

_CONFIRM: Final = """<h1>Let this device sign in?</h1>
<p class="soft">Approve only if your own terminal shows exactly this code.</p>
<strong class="code" aria-label="Code">{user_code}</strong>
<dl>
{rows}
</dl>
<form method="post" action="/device">
<input type="hidden" name="user_code" value="{user_code}">
<input type="hidden" name="form_token" value="{form_token}">
<div class="pair">
<button type="submit" name="decision" value="approve">Approve</button>
<button type="submit" name="decision" value="refuse" class="quiet">Refuse</button>
</div>
</form>"""

_MARK: Final = """<svg class="mark {kind}" viewBox="0 0 44 44" aria-hidden="true">
<circle cx="22" cy="22" r="20"/>{path}</svg>"""
_TICK: Final = Html('<path d="M14 22.5l5.5 5.5L30.5 17"/>')
_CROSS: Final = Html('<path d="M16 16l12 12M28 16L16 28"/>')


def document(title: str, main: Html) -> str:
    return html(_SHELL, title=title, style=Html(STYLE), main=main)


def entry(typed: str = "", problem: str = "") -> str:
    """The page with the form for a code, with the error about the last one."""
    said = html('<p class="problem" role="alert" id="problem">{problem}</p>', problem=problem) if problem else Html()
    described = Html(' aria-describedby="problem" aria-invalid="true"') if problem else Html()
    return document("Sign in a device", html(_ENTRY, typed=typed, problem=said, described=described))


def confirm(code: DeviceCode, form_token: str, now_s: float) -> str:
    """The page with the device that asks, the time of its request, and the two buttons."""
    row = "<dt>{name}</dt><dd>{value}</dd>"
    rows = (html(row, name=name, value=value or "not told") for name, value in _facts(code, now_s))
    main = html(_CONFIRM, user_code=code.user_code, rows=Html("\n".join(rows)), form_token=form_token)
    return document("Let this device sign in?", main)


def result(*, approved: bool) -> str:
    kind, path = ("good", _TICK) if approved else ("bad", _CROSS)
    title, text = (
        ("Device approved", "Your terminal carries on by itself. You may close this page.")
        if approved
        else ("Device refused", "The device is not signed in. You may close this page.")
    )
    mark = html(_MARK, kind=kind, path=path)
    return document(title, html("{mark}<h1>{title}</h1><p>{text}</p>", mark=mark, title=title, text=text))


def lost_form(user_code: str) -> str:
    """The page that answers a form that this page did not make, or whose cookie is missing."""
    return document(
        "Please confirm again",
        html(
            '<h1>Please confirm again</h1><p class="problem" role="alert">This form did not come from this page, or its'
            ' cookie was lost. Nothing was decided.</p><p><a href="/device?user_code={code}">Back to the'
            " code</a></p>",
            code=quote(user_code),
        ),
    )


def index(env: Mapping[str, str]) -> str:
    """The start page: how to point programs at this emulator."""
    lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in env.items())
    return document(
        "Kimi emulator",
        html(
            "<h1>Kimi emulator</h1><p>A loopback sign-in server and coding API for trying, demos and tests. To use it,"
            " run in your shell:</p><pre>{lines}</pre><p>Then <code>kimi-auth login</code>."
            ' Codes are approved <a href="/device">here</a>.</p>',
            lines=lines,
        ),
    )


def _facts(code: DeviceCode, now_s: float) -> tuple[tuple[str, str], ...]:
    device = code.device
    return (
        ("Device", device.name),
        ("Model", device.model),
        ("System", device.os_version),
        ("Program", _program(device)),
        ("Asked", f"{_span(now_s - code.issued_at_s)} ago"),
        ("Valid for", f"another {_span(code.expires_at_s - now_s)}"),
    )


def _program(device: Device) -> str:
    return " ".join(part for part in (device.platform, device.version) if part)


def _span(seconds: float) -> str:
    """`45 seconds`, `12 minutes`: the nearest, never negative."""
    whole = max(0, round(seconds))
    count, unit = (whole, "second") if whole < 120 else (round(seconds / 60), "minute")
    return f"{count} {unit}{'' if count == 1 else 's'}"

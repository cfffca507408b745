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
from typing import Final
from urllib.parse import quote

from .records import Device, DeviceCode


class Html(str):
    """Text that is markup already."""


def html(template: str, /, **values: object) -> Html:
    """`template` with its {names} filled in, escaped unless they are Html."""
    safe = {name: value if isinstance(value, Html) else escape(str(value)) for name, value in values.items()}
    return Html(template.format_map(safe))


STYLE: Final = """
:root {
  color-scheme: light dark;
  --ground: #f4f3ef; --card: #ffffff; --ink: #1d2127; --soft: #5c636e; --line: #dddbd3; --well: #f7f6f2;
  --accent: #2450c8; --accent-deep: #1b3fa5; --on-accent: #ffffff; --ring: #2450c8;
  --badge: #fdf0cf; --badge-ink: #6b4700; --badge-line: #ecd48d;
  --good: #1c7a46; --bad: #b3261e; --bad-ground: #fdeeec; --bad-line: #f0c4bf;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #121417; --card: #1b1e23; --ink: #eceef1; --soft: #a2a9b4; --line: #30353d; --well: #15181c;
    --accent: #8fabff; --accent-deep: #b0c4ff; --on-accent: #0d1838; --ring: #8fabff;
    --badge: #3a2f12; --badge-ink: #f6dc9a; --badge-line: #5d4c1e;
    --good: #6fd39b; --bad: #ff9c93; --bad-ground: #381d1b; --bad-line: #663531;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; min-height: 100vh; padding: 24px 16px; display: flex; flex-direction: column; align-items: center;
  justify-content: center; gap: 20px; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
.badge {
  margin: 0; padding: 6px 14px; border: 1px solid var(--badge-line); border-radius: 999px; background: var(--badge);
  color: var(--badge-ink); font-size: 14px; font-weight: 600; text-align: center;
}
main {
  width: 100%; max-width: 460px; padding: 32px; border: 1px solid var(--line); border-radius: 16px;
  background: var(--card); box-shadow: 0 1px 2px rgb(0 0 0 / 4%), 0 12px 32px rgb(0 0 0 / 6%);
}
main:has(pre) { max-width: 580px; }
h1 { margin: 0 0 8px; font-size: 24px; line-height: 1.25; letter-spacing: -0.01em; }
p { margin: 0 0 16px; }
p:last-child { margin-bottom: 0; }
.soft, dt, footer { color: var(--soft); }
label { display: block; margin: 24px 0 6px; font-weight: 600; }
input[type="text"], .code {
  width: 100%; padding: 14px; border: 1px solid var(--line); border-radius: 10px; background: var(--well);
  color: var(--ink); font: 600 26px/1.2 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  letter-spacing: 0.12em; text-align: center;
}
input[type="text"] { text-transform: uppercase; }
input::placeholder { color: var(--soft); opacity: 0.6; }
.code { display: block; margin: 20px 0; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 8px 20px; margin: 0 0 20px; }
dt, dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
button {
  width: 100%; min-height: 50px; margin-top: 16px; padding: 12px 20px; border: 1px solid transparent;
  border-radius: 10px; background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600;
  cursor: pointer;
}
button:hover { background: var(--accent-deep); }
button.quiet { border-color: var(--line); background: transparent; color: var(--ink); }
button.quiet:hover { background: var(--well); }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--ring); outline-offset: 3px; }
.problem {
  margin: 16px 0; padding: 12px 14px; border: 1px solid var(--bad-line); border-radius: 10px;
  background: var(--bad-ground); color: var(--bad);
}
.mark { display: block; width: 44px; height: 44px; margin: 0 0 16px; fill: none; stroke-width: 2.5;
  stroke-linecap: round; stroke-linejoin: round; }
.good { stroke: var(--good); }
.bad { stroke: var(--bad); }
pre { margin: 0 0 16px; padding: 14px; border: 1px solid var(--line); border-radius: 10px; background: var(--well);
  font: 13px/1.6 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
footer { max-width: 460px; font-size: 14px; text-align: center; }
@media (max-width: 480px) {
  main { padding: 24px 20px; }
  input[type="text"], .code { font-size: 22px; }
}
@media (min-width: 481px) {
  .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
}
"""

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
    "Referrer-Policy": "no-referrer",
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
<button type="submit" name="decision" value="approve" autofocus>Approve</button>
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
    """The form for a code, with the error about the last one."""
    said = html('<p class="problem" role="alert" id="problem">{problem}</p>', problem=problem) if problem else Html()
    described = Html(' aria-describedby="problem" aria-invalid="true"') if problem else Html()
    return document("Sign in a device", html(_ENTRY, typed=typed, problem=said, described=described))


def confirm(code: DeviceCode, form_token: str, now_s: float) -> str:
    """The device that asks, the time of its request, and the two buttons."""
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
    """The answer to a form that this page did not make, or whose cookie is missing."""
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
    """`45 seconds`, `12 minutes`: rounded down, never negative."""
    whole = max(0, int(seconds))
    count, unit = (whole, "second") if whole < 120 else (whole // 60, "minute")
    return f"{count} {unit}{'' if count == 1 else 's'}"

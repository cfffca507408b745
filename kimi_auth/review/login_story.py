"""A login in seven pictures, for readers who do not read tables: a stretch of a machine each, with a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kimi_auth.machine.spec import Machine

from .escape import attribute
from .escape import text as escape
from .graph import LINE_PX, NAME_PX, text_width

__all__ = ["STORY", "Chapter", "strip"]


class Chapter(NamedTuple):
    """One picture: `outcomes` are taken one after the other from `begin`, a state of `machine`."""

    title: str
    says: str
    machine: str
    begin: str
    outcomes: tuple[str, ...]


STORY = (
    Chapter(
        "You ask to sign in",
        "The program first makes sure that there is room to store a login. Then it asks the server for a code and shows it.",
        "device_login",
        "checking_store",
        ("ready", "code", "shown"),
    ),
    Chapter(
        "You approve in a browser",
        "Meanwhile the program asks the server every few seconds. A slow or silent server only makes it wait longer.",
        "device_login",
        "waiting",
        ("elapsed", "authorization_pending", "elapsed", "granted"),
    ),
    Chapter(
        "The login is stored",
        "It is on disk before anything else happens. Then the models are fetched and your programs are told.",
        "device_login",
        "persisting",
        ("stored", "synced", "configured", "injected"),
    ),
    Chapter(
        "Hours later, it grows old",
        "A token lives for a while. Before it ends, one process takes the lock and renews it; the others keep working.",
        "token_lifecycle",
        "expiring",
        ("renew", "renewed", "injected", "fresh"),
    ),
    Chapter(
        "How it is renewed",
        "The renewal is announced on disk, then sent once. The new pair is written beside the old one, then renamed onto it.",
        "token_refresh",
        "rereading",
        ("renewable", "claimed", "unchanged", "tokens", "staged", "committed"),
    ),
    Chapter(
        "If the process dies in the middle",
        "The announcement is still there. The next process sees it and declares a recovery before it sends anything again.",
        "token_refresh",
        "claiming",
        ("interrupted", "claimed", "unchanged", "tokens"),
    ),
    Chapter(
        "You sign out",
        "The login is removed here first, which is final. Then the server is told, and the files beside it are removed.",
        "sign_out",
        "emptying",
        ("emptied", "discarded", "revoked", "cleared"),
    ),
)

_BOX, _GAP, _WIDTH, _MIDDLE = 32, 36, 264, 100


def strip(machines: Mapping[str, Machine], chapter: Chapter) -> str:
    """One of the seven pictures as an SVG element: the states from top to bottom. "" if the machine does not have this course."""
    machine = machines.get(chapter.machine)
    states = list(_course(machine, chapter)) if machine is not None else []
    if machine is None or len(states) <= len(chapter.outcomes):
        return ""
    height = _BOX * len(states) + _GAP * len(chapter.outcomes) + 8
    spoken = attribute(f"{chapter.machine}: {', '.join(states)}")
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" class="m strip" {size} role="img" aria-label="{spoken}">']
    for at, (name, outcome) in enumerate(zip(states, (*chapter.outcomes, ""), strict=True)):
        y = 4 + at * (_BOX + _GAP)
        width = max(text_width(len(name), NAME_PX) + 24, 96)
        state = machine.states[name]
        kinds = " ".join(filter(None, ("state", state.tone or "", "held" if state.holds or machine.holds else "")))
        parts.append(
            f'<g class="{attribute(kinds)}"><rect class="box" x="{_MIDDLE - width // 2}" y="{y}" width="{width}" '
            f'height="{_BOX}" rx="8"/><text class="name" x="{_MIDDLE}" y="{y + 21}" text-anchor="middle">{escape(name)}</text></g>'
        )
        if outcome:
            foot = y + _BOX + _GAP
            label = _MIDDLE + 10
            parts.append(
                f'<g class="edge happy"><path d="M{_MIDDLE} {y + _BOX}V{foot - 3}"/><polygon class="tip" '
                f'points="{_MIDDLE},{foot} {_MIDDLE - 4},{foot - 8} {_MIDDLE + 4},{foot - 8}"/>'
                f'<text x="{label}" y="{y + _BOX + 21}" textLength="{text_width(len(outcome), LINE_PX)}">{escape(outcome)}</text></g>'
            )
    return "".join([*parts, "</svg>"])


def _course(machine: Machine, chapter: Chapter) -> Iterator[str]:
    at = chapter.begin
    for outcome in (*chapter.outcomes, ""):
        if at not in machine.states:
            return
        yield at
        at = machine.states[at].on.get(outcome, "")

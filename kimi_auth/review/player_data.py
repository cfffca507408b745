"""What the page's script needs to lead a reader through the machines: one JSON value, made from machines and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kimi_auth.machine.spec import Machine
from kimi_auth.machine.trace import Walk

from .page_data import PageData

__all__ = ["embedded", "player_data", "walk_story"]


def player_data(
    machines: Mapping[str, Machine], page_data: PageData, stories: Sequence[Mapping[str, Any]] = (), opened: str = ""
) -> dict[str, Any]:
    """`machines` as their files have them, the `world` of one process, and `stories`: those kept, and the given ones.

    `opened`: the address at which the page opens when it is asked for none.
    """
    walks = page_data.played(machines) or {}
    return {
        "machines": {name: machine.data() for name, machine in machines.items()},
        "world": walks.get("world"),
        "stories": [*stories, *walks.get("stories", ())],
        "opened": opened,
    }


def embedded(data: Mapping[str, Any]) -> str:
    """The player's data as the text of an element that a browser does not run; no text in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def walk_story(walk: Walk, number: int = 1) -> dict[str, Any]:
    """A recorded walk as a story for the player; it knows no disk."""
    frames: list[dict[str, Any]] = [{"text": f"recorded from {walk.began} on", "edges": [], "at": {"": ""}}]
    for traced, since_s in zip(walk.traced, walk.since_s, strict=True):
        frames.append(
            {
                "text": f"{since_s:.2f} s: {traced.machine}.{traced.source} --{traced.event}--> {traced.machine}.{traced.target}",
                "edges": [f"{traced.machine}.{traced.source}.{traced.event}"],
                "at": {"": f"{traced.machine}.{traced.target}"},
            }
        )
    title = f"walk of {walk.machine}, {walk.began}"
    return {"id": f"recorded-{number}", "title": title, "rule": "", "says": "", "frames": frames}

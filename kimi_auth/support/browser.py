"""Opens the verification page in the person's browser, if there is one to open it in. No caller waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Mapping

from kimi_auth.support.children import isolated_command
from kimi_auth.support.urls import safe_url

__all__ = ["can_open", "open_browser"]


def can_open(environ: Mapping[str, str] = os.environ, system: str = sys.platform) -> bool:
    """True where a browser has a screen to appear on; text browsers would take the terminal away from the sign-in."""
    if environ.get("BROWSER") or system in {"darwin", "win32"}:
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def open_browser(url: str) -> threading.Thread | None:
    """Opens `url` in the background, as Python's `webbrowser` finds best ($BROWSER first); None for an unsafe one.

    `url` becomes an argument of the browser's command line, which every user of the machine can read: no secret in it.
    """
    if not safe_url(url):
        return None
    thread = threading.Thread(target=_open, args=(url,), name="kimi-auth browser", daemon=True)
    thread.start()
    return thread


def _open(url: str) -> None:
    """In a child Python, so that what a browser prints does not reach the terminal; in this one where there is none."""
    command = isolated_command("webbrowser", "-t", url)
    quiet = subprocess.DEVNULL
    try:
        if command is not None:
            subprocess.run(command, check=False, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        elif can_open():
            webbrowser.open_new_tab(url)
    except (OSError, webbrowser.Error):
        return  # the link is on the screen

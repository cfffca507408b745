"""Where PyInstaller finds the hook of this package; it looks for the entry point `hook-dirs` of the group `pyinstaller40`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """The folder of `hook-kimi_auth.py`."""
    return [str(Path(__file__).parent)]

"""Command lines of child Pythons. No other module of this package reads `sys.executable`; a test checks that.

`python -m` puts the current directory first on its path, so a file `argparse.py` there would run instead of the
standard library's. In a frozen application `sys.executable` is that application, which would start itself.
"""

from __future__ import annotations

import os
import sys

__all__ = ["isolated_command", "python_command"]

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - may be a zip file
_INTERPRETERS = ("python", "pypy", "graalpy")
_RUN = "import runpy, sys; sys.path[:] = {path}; runpy.run_module({module}, run_name='__main__', alter_sys=True)"


def python_command(module: str, *args: str) -> list[str] | None:
    """The command line that runs `module` of this package as `python -m` would; None if no Python can be started.

    The child uses this process's import path, so it finds a package from PYTHONPATH, the user's site or
    `sys.path.insert` too. The current directory is left out, unless this package lives in it.
    """
    if (python := _python()) is None:
        return None
    return [*python, "-c", _RUN.format(path=ascii(_import_path()), module=ascii(module)), *args]


def isolated_command(module: str, *args: str) -> list[str] | None:
    """The command line of a child for a module of the standard library, with an isolated interpreter (`-I`)."""
    if (python := _python()) is None:
        return None
    return [python[0], "-I", "-m", module, *args]


def _python() -> list[str] | None:
    """The interpreter with options that ignore the current directory, and the environment as far as this one does.

    None in a frozen application, and in a program that embeds Python (uWSGI): there `sys.executable` is that program.
    """
    name = os.path.basename(sys.executable or "").lower()  # noqa: PTH119 - pathlib takes half of Python's own start
    if getattr(sys, "frozen", False) or not name.startswith(_INTERPRETERS):
        return None
    if sys.flags.isolated:
        return [sys.executable, "-I"]
    kept = (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site))
    return [sys.executable, "-P", *(option for option, is_on in kept if is_on)]


def _import_path() -> list[str]:
    """The `sys.path` of a child: without the current directory and relative entries, but always with this package's root."""
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:  # it has been removed
        here = os.sep
    kept = [place for entry in sys.path if (place := _place(entry, here))]
    return kept if _ROOT in kept else [*kept, _ROOT]


def _place(entry: str, here: str) -> str:
    """The absolute path of an entry of `sys.path`, "" for an excluded one."""
    place = os.path.normpath(os.path.join(here, entry))  # noqa: PTH118
    is_elsewhere = os.path.isabs(entry) and os.path.realpath(place) != os.path.realpath(here)  # noqa: PTH117
    return place if place == _ROOT or is_elsewhere else ""

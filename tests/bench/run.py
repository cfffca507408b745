"""Measures, and prints what it measured: `make bench`, or `make bench BENCH="--markdown"` for the tables of docs/measured.md.

    PYTHONPATH=tests python -m bench.run [--only TABLE ...] [--markdown] [--quick] [--latency S ...] [--alone]

Everything is measured in `.venv-bench`, where kimi-auth and its peers are installed side by side, in a home that is gone
afterwards, and with no server but those of this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench import environment


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(given)
    try:
        if not options.alone and not environment.is_inside() and (python := environment.made()):
            os.execve(
                python,
                [str(python), "-m", "bench.run", *given],
                {**os.environ, "PYTHONPATH": str(environment.CHECKOUT / "tests")},
            )
        _measure(options)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    return 0


def _measure(options: argparse.Namespace) -> None:
    from bench import (
        config_lock,
        contended,
        door,
        due,
        engine,
        fresh_token,
        hand_over,
        herd,
        proxied,
        renewal,
        report,
        served,
        shell,
        stalls,
        surroundings,
    )

    tables: dict[str, Callable[[Path], report.Table]] = {
        "token": partial(fresh_token.table, quick=options.quick),
        "shell": partial(shell.table, quick=options.quick),
        "door": partial(door.table, quick=options.quick),
        "due": partial(due.table, quick=options.quick),
        "config": partial(config_lock.table, quick=options.quick),
        "contended": partial(contended.table, latencies_s=options.latency or [0.1], quick=options.quick),
        "handover": partial(hand_over.table, quick=options.quick),
        "renewal": partial(renewal.table, quick=options.quick),
        "engine": partial(engine.table, quick=options.quick),
        "stalls": partial(stalls.table, quick=options.quick),
        "served": partial(served.table, quick=options.quick),
        "proxy": partial(proxied.table, quick=options.quick),
        "herd": partial(herd.table, quick=options.quick),
    }
    with surroundings.at_home() as folder:
        heading = f"Measured on {report.machine_class(folder)}. Medians; the rows of a table take turns."
        print(heading if options.markdown else textwrap.fill(heading, report.WIDTH), end="\n\n", flush=True)
        if error := report.busy():
            print(f"bench: {error}", file=sys.stderr)
        for name in options.only or (IN_DOCS if options.markdown else TABLES):
            table = tables[name](folder)
            print(table.markdown() if options.markdown else table.text(), end="\n\n", flush=True)


TABLES = (
    "token",
    "shell",
    "door",
    "due",
    "config",
    "contended",
    "handover",
    "renewal",
    "engine",
    "stalls",
    "proxy",
    "served",
)
ON_REQUEST = ("herd",)
"""Tables that need more than a Python, and minutes."""
IN_DOCS = ("token", "shell", "contended", "handover")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "--only",
        choices=TABLES + ON_REQUEST,
        action="append",
        metavar="TABLE",
        help=f"one of {', '.join(TABLES + ON_REQUEST)}",
    )
    parser.add_argument(
        "--markdown", action="store_true", help=f"for docs/measured.md: {', '.join(IN_DOCS)}, unless --only"
    )
    parser.add_argument(
        "--quick", action="store_true", help="so few turns that the figures mean nothing: does it work?"
    )
    parser.add_argument(
        "--latency", type=float, action="append", metavar="S", help="contended: seconds that the server takes (0.1)"
    )
    parser.add_argument("--alone", action="store_true", help="without the peers, in the environment at hand")
    return parser


if __name__ == "__main__":
    sys.exit(main())

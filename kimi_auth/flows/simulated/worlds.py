"""The worlds in which the committed machines are checked, by name, and what it costs to visit all of each."""

from __future__ import annotations

from .effects import Config

__all__ = ["FAST", "QUICK", "WORLDS"]

SMALL = Config(any_need=False, full_disk=False, all_answers=False)

QUICK = "two processes"
"""The world that every test run visits."""

WORLDS: dict[str, Config] = {
    QUICK: SMALL,
    "three processes": SMALL._replace(processes=3),
    "two processes, disk full, strict server": SMALL._replace(full_disk=True),
    "two processes, disk full, lenient server": SMALL._replace(full_disk=True, policy="lenient"),
    "two processes, disk full, server with a grace window": SMALL._replace(full_disk=True, policy="grace"),
    "two processes, disk full, server that does not rotate": SMALL._replace(full_disk=True, policy="none"),
    "two processes, power cuts": SMALL._replace(power=True),
    "two processes, any need, any answer": Config(logins=0, logouts=0),
    "two processes, strange records, a disk that stays full": Config(
        logins=0, logouts=0, spoils=1, gives_up=True, any_need=False
    ),
    "two processes beside an old program": SMALL._replace(old_program=True, logouts=0),
    "two processes beside an old program that signs out": SMALL._replace(old_program=True, logins=0),
}
"""Kills, lost and late answers, a busy server, a proxy in the way and cancellations are in each, without limit; so are the
wear of tokens and rejected bearers. What differs is in the name; `QUICK`, "three" and "power cuts" have a disk that works.
"""

FAST: dict[str, Config] = {
    "one process, any need": Config(processes=1, logins=0, logouts=0, full_disk=False),
    "one process, a bad disk, strange records": Config(
        processes=1, logins=0, logouts=0, spoils=1, gives_up=True, any_need=False
    ),
    "one process, signs out": Config(processes=1, logins=0, logouts=2, any_need=False),
    "one process, signs out, strange records": SMALL._replace(processes=1, logins=0, spoils=1),
    "one process beside an old program": SMALL._replace(processes=1, logouts=0, old_program=True),
    "one process beside an old program that signs out": SMALL._replace(
        processes=1, logins=0, old_program=True, all_answers=True
    ),
    "one process, power cuts": SMALL._replace(processes=1, logins=0, logouts=0, power=True),
    "two quiet processes": SMALL._replace(logins=0, logouts=0),
    "two processes, one signs out": SMALL._replace(logins=0),
}
"""Worlds of seconds, which together walk every edge that can be walked: for the many machines that must be found wrong."""

"""The worlds in which the committed machines are checked, by name.

Faults have no limit of their own: any process may be killed at any step, and its caller may go away; an answer may be
lost, late or missing; a server may be busy or refuse this client, or a proxy may answer instead; tokens grow older, and
bearers are rejected at any moment. The name and the `Config` say where worlds differ: the number of processes, the
server, the disk, and who signs in and out.
"""

from __future__ import annotations

from collections.abc import Mapping

from .effects import Config, Policy

__all__ = ["FAST", "ONE_FAULT", "QUICK", "QUIET", "WORLDS"]

SMALL = Config(any_need=False, full_disk=False, all_answers=False)
"""Two processes, one login and one logout at any moment, a disk that works, a strict server."""

DISK = SMALL._replace(full_disk=True)
QUIET = SMALL._replace(logins=0, logouts=0)
THREE = SMALL._replace(processes=3)
UNSURE = QUIET._replace(lock="broken", hidden=True)
HOSTS = QUIET._replace(shared_lock=False, hidden=True)

BESIDE = QUIET._replace(processes=1, store="kimi-code", orphans=True)
"""One process of ours on the home of a kimi-code."""

SESSIONS = QUIET._replace(store="sessions", shared_lock=False, rejections=False, upsets=1)
"""Two hosts on a store with sessions, one process each; one upset: a killed process, one that stands still until its lease
is over, a lost answer, a session that ends alone, a host that is cut off, a store that stops."""

GONE_BACK = SESSIONS._replace(hosts=1, goes_back=True)

SERVERS: Mapping[str, Policy] = {
    "strict server": "strict",
    "lenient server": "lenient",
    "server with grace": "grace",
    "no rotation": "none",
}

ONE_PROCESS: Mapping[str, Config] = {
    "one process, any need": Config(processes=1, logins=0, logouts=0, full_disk=False),
    "one process, strange records, a disk that stays full": Config(
        processes=1, logins=0, logouts=0, spoils=1, gives_up=True, any_need=False
    ),
    "one process signs out": Config(processes=1, logins=0, logouts=2, any_need=False),
    "one process signs out, strange records": SMALL._replace(processes=1, logins=0, spoils=1),
    "one process beside an old program": SMALL._replace(processes=1, logouts=0, old_program=True),
    "one process beside an old program that signs out": SMALL._replace(
        processes=1, logins=0, old_program=True, all_answers=True
    ),
    "one process, power cuts": QUIET._replace(processes=1, power=True),
}

WAITERS = QUIET._replace(processes=3, all_answers=True, waiters=True)

ONE_FAULT: Mapping[str, Config] = {
    "three waiters, one fault": WAITERS._replace(policy="none"),
    "three waiters, one fault, strict server": WAITERS,
}

ON_SESSIONS: Mapping[str, Config] = {
    "two hosts on a store with sessions, an upset": SESSIONS,
    "two hosts on a store with sessions, an upset, sign-in and sign-out": SESSIONS._replace(logins=1, logouts=1),
    "two hosts on a store with sessions, an upset, walks that wait": SESSIONS._replace(waits=True),
    "two hosts on a store with sessions, two upsets": SESSIONS._replace(upsets=2),
    "two hosts on a store with sessions, two upsets, lenient server": SESSIONS._replace(upsets=2, policy="lenient"),
    "two hosts with two processes each on a store with sessions, an upset": SESSIONS._replace(processes=4),
    "one host on a store that goes back, two upsets": GONE_BACK._replace(upsets=2),
    "two hosts on a store that goes back, an upset": GONE_BACK._replace(hosts=2),
}

BESIDE_KIMI_CODE: Mapping[str, Config] = {
    "one process beside kimi-code, strict server": BESIDE,
    "one process beside kimi-code, lenient server": BESIDE._replace(policy="lenient"),
}

WORLDS: Mapping[str, Config] = {
    **ONE_PROCESS,
    **ONE_FAULT,
    "two quiet processes that wait": QUIET._replace(waits=True),
    "two processes": SMALL,
    "two processes, a disk that fills up, strict server": DISK,
    "two processes, a disk that fills up, lenient server": DISK._replace(policy="lenient"),
    "two processes, a disk that fills up, server with grace": DISK._replace(policy="grace"),
    "two processes, a disk that fills up, no rotation": DISK._replace(policy="none"),
    "two processes, power cuts": SMALL._replace(power=True),
    "two processes, any need, any answer": Config(logins=0, logouts=0),
    "two processes, strange records, a disk that stays full": Config(
        logins=0, logouts=0, spoils=1, gives_up=True, any_need=False
    ),
    "two processes beside an old program": SMALL._replace(old_program=True, logouts=0),
    "two processes beside an old program that signs out": SMALL._replace(old_program=True, logins=0),
    "two processes, dead ones may look alive": SMALL._replace(hidden=True),
    **{
        f"two {where}, {server}": config._replace(policy=policy)
        for where, config in (
            ("containers whose lock excludes at times", UNSURE),
            ("hosts without a common lock", HOSTS),
        )
        for server, policy in SERVERS.items()
    },
    **ON_SESSIONS,
    **BESIDE_KIMI_CODE,
    "three processes": THREE,
    "three processes, lenient server": THREE._replace(policy="lenient"),
    "three processes, server with grace": THREE._replace(policy="grace"),
    "three processes, no rotation": THREE._replace(policy="none"),
}
"""Every world of the proof, the smallest first; all of them take some minutes. The worlds whose lock does not exclude
have no sign-in and no sign-out."""

QUICK = (*ONE_PROCESS, *ONE_FAULT, "two processes", "two hosts on a store with sessions, an upset")
"""The worlds that together take half a minute."""

FAST: Mapping[str, Config] = {
    "one quiet process": QUIET._replace(processes=1),
    **ONE_PROCESS,
    **ONE_FAULT,
    "two quiet processes": QUIET,
    "two processes, one signs out": SMALL._replace(logins=0),
}
"""Worlds that take seconds and together walk every reachable edge. They check the many mutants."""

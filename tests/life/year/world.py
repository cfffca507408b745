"""One laptop, one login, one server: what the processes ask for, what they get, and whether that was right.

Sessions, machines, hooks, single-flight calls and keepers are the real ones. The store is the one in memory, behind a
lock that waits in virtual time; the server is the simulated one, behind a network that has faults.
"""

from __future__ import annotations

import asyncio
import random
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx

from kimi_auth import Session
from kimi_auth.credential.token_refresh import token_from
from kimi_auth.errors import KimiAuthError, NotSignedIn, Revoked
from kimi_auth.machine import NO_OBSERVER
from kimi_auth.testing import SimulatedServer
from kimi_auth.wire import Answer, ExchangeOutcome, Grant, RawResponse, exchange_answer
from life.year.book import Book
from life.year.disturbances import ALL, NONE, TIMER_S, Disturbances, Faults
from life.year.laptop import EPOCH_S, Killed, Laptop, TurnFlights
from life.year.processes import Process
from life.year.surroundings import Door, ServersClock, SharedStore

__all__ = ["World", "alone"]

ISSUER: Final = "https://auth.kimi.com"
LIFE_S: Final = 900.0
HOUR_S: Final = 3600.0
KINDS: Final = ("program",) * 18 + ("kept",) * 2 + ("command",) * 4

MISHAPS: Final = {"reset": 60, "slow": 20, "staged": 8, "killed": 6, "nap": 3, "silent": 1, "power": 1}
"""What happens in the middle of an exchange, by weight: the answer is lost, or comes late; its reader dies when he has
saved it, or before; the lid closes; nothing ever comes; the power fails."""

BROKEN: Final = exchange_answer(RawResponse("auth.kimi.com", failure=httpx.ReadError, message="reset"))
SILENT: Final = exchange_answer(RawResponse("auth.kimi.com", failure=httpx.ReadTimeout, message="no answer"))


class World:
    """`live` lives it; afterwards `book`, `disturbances`, `server` and `exchanges_at_s` (awake seconds) say how it was."""

    def __init__(
        self, seed: int, share_dir: Path, faults: Faults = ALL, *, kinds: tuple[str, ...] = KINDS, one: bool = False
    ) -> None:
        self.faults = faults
        self.laptop = Laptop(timer_s=TIMER_S)
        self.book = Book(seed, self.laptop)
        self.store = SharedStore(self.laptop, self._before_install)
        clock: Any = ServersClock(self.laptop)
        self.server = SimulatedServer(clock, reuse=faults.reuse, access_ttl_s=LIFE_S)
        self.disturbances = Disturbances(
            faults, self.laptop, self.book, kill_all=self._kill_all, kill_one=self._kill_one, pause_s=self._pause_s
        )
        self.exchanges_at_s: list[float] = []
        self.lost: set[str] = set()
        self._share_dir = share_dir
        self._kinds = kinds
        self._one = one
        self._pids = count(1)
        self._processes: list[Process] = []
        self._doomed: Process | None = None
        self._issued_wrong_by_s: dict[str, float] = {}
        self._banned: set[str] = set()
        self._mourned: set[int] = set()
        self._on_the_way = self.book.dice("exchanges")
        self._at_the_api = self.book.dice("requests")
        self._at_once = self.book.dice("bursts")
        self._bursts_s = [HOUR_S]

    # --- life ------------------------------------------------------------------------------------------------------------

    def live(self, *, days: float = 0.0, awake_s: float = 0.0) -> World:
        """So many days of true time, or so many seconds awake; ends early where nothing new is learnt."""
        random.seed(f"{self.book.seed}/jitter")  # what the package draws itself
        self.laptop.run(lambda: self._live(EPOCH_S + days * 86_400, awake_s))
        return self

    async def _live(self, until_true_s: float, until_awake_s: float) -> None:
        with self.store.locked(0.0):
            self.sign_in()
        self.disturbances.begin()
        self._processes = [Process(self, slot, kind) for slot, kind in enumerate(self._kinds)]
        only = self.session(self._processes[0]) if self._one else None
        for process in self._processes:
            self.disturbances.spawn(process.live(only))
        while self.laptop.true_s < until_true_s or self.laptop.awake_s < until_awake_s:
            await asyncio.sleep(60.0)
            if self.book.is_full:
                break
        self._kill_all()
        await self.disturbances.end()
        if not set(self.server.state.reused) <= self.lost:
            self.book.violate("a refresh token was sent twice although its answer had arrived")

    def next_pid(self) -> int:
        return next(self._pids)

    def burst_s(self, number: int) -> float:
        """When the `number`-th burst is, in awake seconds: a moment at which every process asks."""
        while len(self._bursts_s) <= number:
            self._bursts_s.append(self._bursts_s[-1] + self._at_once.uniform(1.0, 4.0) * HOUR_S)
        return self._bursts_s[number]

    def session(self, process: Process) -> Session:
        """A new process's session."""
        door: Any = Door(self.exchange, process)
        session = Session(
            self._share_dir,
            environ={},
            clock=self.laptop,
            store=self.store,
            server=door,
            observe=NO_OBSERVER,
            one_shot=process.kind == "command",
        )
        session._components.credential.flights = TurnFlights(self.laptop, process.pid)
        return session

    def _kill_all(self) -> None:
        for process in self._processes:
            process.kill()

    def _kill_one(self, dice: random.Random) -> None:
        dice.choice(self._processes).kill()

    def _pause_s(self) -> float:
        backoff = self.store.backoff()
        return max(backoff.retry_at_s, backoff.forced_retry_at_s) - self.laptop.wall_s()

    # --- the login -------------------------------------------------------------------------------------------------------

    def sign_in(self) -> None:
        """A new login, under the lock: its pair becomes the record."""
        grant = self.server.issue()
        self._issued_wrong_by_s[grant.access_token] = self.laptop.wrong_by_s
        self.store.put(token_from(grant, sent_at_s=self.laptop.wall_s(), issuer=ISSUER))
        self.book.excuse(5.0, kept_s=TIMER_S + 65.0)

    async def _sign_in_again(self) -> None:
        """A person does, after a while."""
        await asyncio.sleep(self._on_the_way.uniform(30.0, 600.0))
        while True:
            with self.store.locked(0.0) as held:
                if held:
                    self.sign_in()
                    return
            await asyncio.sleep(1.0)

    @property
    def _login_ended(self) -> bool:
        return self.server.state.families[-1].revoked_because is not None

    # --- exchanges: in the threads of the processes ----------------------------------------------------------------------

    def exchange(self, process: Process, refresh_token: str, connect_s: float) -> Answer[ExchangeOutcome, Grant]:
        laptop, dice, wrong_by_s = self.laptop, self._on_the_way, self.laptop.wrong_by_s
        if self._is_cut_off():
            laptop.sleep(dice.uniform(0.01, connect_s))
            return self.disturbances.turned_away()
        laptop.sleep(dice.uniform(0.05, 0.4))
        if self._is_cut_off():
            return BROKEN
        answer = self.server.exchange(refresh_token)
        self.exchanges_at_s.append(laptop.awake_s)
        if answer.value is None:
            return answer
        self._issued_wrong_by_s[answer.value.access_token] = wrong_by_s
        lost_before = refresh_token in self.lost
        self.lost.add(refresh_token)
        if broken := self._mishap(process):
            return broken
        laptop.sleep(dice.uniform(0.05, 0.4))
        if self._is_cut_off():
            return BROKEN
        if not lost_before:
            self.lost.remove(refresh_token)
        return answer

    def _is_cut_off(self) -> bool:
        return bool(self.disturbances.outage)

    def _mishap(self, process: Process) -> Answer[ExchangeOutcome, Grant] | None:
        """What happens while the answer is on its way; what comes instead of it, if anything does."""
        dice, one_in = self._on_the_way, self.faults.one_mishap_in
        if not one_in or dice.randrange(one_in):
            return None
        (what,) = dice.choices(list(MISHAPS), list(MISHAPS.values()))
        self.book.count(what, f"{what}, while the answer is on its way to {process}")
        self.book.excuse(3.0)  # for an answer that is lost there is a pause of a second, and then the recovery
        match what:
            case "slow":
                self.book.excuse(62.0)
                self.laptop.sleep(dice.uniform(5.0, 58.0))
            case "silent":
                self.book.excuse(190.0)
                self.laptop.sleep(60.0)
                return SILENT
            case "nap":
                self.disturbances.nap(dice.uniform(20.0, HOUR_S))
                return BROKEN if dice.random() < 0.5 else None
            case "staged":
                self._doomed = process
            case "killed" | "power":
                self.disturbances.soon(process.kill if what == "killed" else self.disturbances.reboot)
                raise Killed
        return BROKEN if what == "reset" else None

    def _before_install(self) -> None:
        if (doomed := self._doomed) is not None:
            self._doomed = None
            self.disturbances.soon(doomed.kill)
            raise Killed

    # --- requests to the API ---------------------------------------------------------------------------------------------

    async def ask(self, process: Process, session: Session, bearer: str = "") -> None:
        """One request, with a token that the process asks for unless it was given one; then what the API says of it."""
        was_down = self.disturbances.outage
        self.book.happened["requests"] += 1
        try:
            bearer = bearer or await session.access_token()
        except KimiAuthError as error:
            self.refused(process, error, was_down)
        else:
            await self._present(process, session, bearer)

    async def _present(self, process: Process, session: Session, bearer: str) -> None:
        if self.disturbances.outage:
            self.book.happened["not sent, offline"] += 1
            return
        if self._accepts(bearer) and not self._lies_about(bearer):
            self.book.happened["served"] += 1
            return
        if not self.server.is_live(bearer):
            self._judge_ended(process, bearer)
        before = len(self.exchanges_at_s)
        again = await session.rejected(bearer)
        if len(self.exchanges_at_s) - before > 1 and not self.book.is_excused and not self.faults.one_mishap_in:
            self.book.violate(f"{process} and its siblings rotated more than once for one 401")
        if again is not None and self._accepts(again):
            self.book.happened["served at the second try"] += 1
        elif not (self.disturbances.outage or self.book.is_excused or self._login_ended):
            self.book.violate(f"{process} got a 401, and then {'no token' if again is None else 'an ended one'}")

    def _accepts(self, bearer: str) -> bool:
        return self.server.is_live(bearer) and bearer not in self._banned

    def _lies_about(self, bearer: str) -> bool:
        """Whether the API refuses a living token: this once, or from now on for every program that brings it."""
        rates = (self.faults.one_401_in, self.faults.one_ban_in)
        once, for_good = (bool(rate) and self._at_the_api.randrange(rate) == 0 for rate in rates)
        if once or for_good:
            self.book.count("401 for all" if for_good else "401")
            if self.store.backoff().forced_retry_at_s > self.laptop.wall_s():
                # Again so soon: rotations for that reason have a backoff of their own.
                self.book.excuse(905.0, kept_s=TIMER_S)
        if for_good:
            self._banned.add(bearer)
        return once or for_good

    def _judge_ended(self, process: Process, bearer: str) -> None:
        """An ended token was presented to a server that can be reached. It must not be, unless no program could know
        better."""
        if self.server.state.judge(bearer) == "revoked":
            self.book.happened["presented when the login had ended"] += 1
        elif self.laptop.wrong_by_s < self._issued_wrong_by_s[bearer]:
            self.book.happened["misled by a clock that was set back"] += 1
        elif process.kind == "kept" and self.book.is_kept_excused:
            self.book.happened["kept client, timer not due yet"] += 1
        else:
            self.book.violate(f"{process} presented an ended token while the server was reachable")

    def refused(self, process: Process, error: KimiAuthError, was_down: str) -> None:
        """`process` got no token, because of `error`; `was_down`: the outage when it asked. Was that right?"""
        self.book.happened[f"refused: {error.code}"] += 1
        if isinstance(error, (Revoked, NotSignedIn)):
            self._signed_out(process, error)
            return
        if self.disturbances.power_cuts and "may still be renewing" in error.message:
            self.disturbances.power_cuts -= 1  # of another boot: 75 s from when it is met
            self.book.excuse(76.0)
        if not (self.disturbances.outage or was_down or self.book.is_excused):
            self.book.violate(f"{process} was refused while the server was reachable: {error.line}")

    def _signed_out(self, process: Process, error: KimiAuthError) -> None:
        """The server alone ends logins, and only for a refresh token whose answer was lost on the way."""
        login = len(self.server.state.families)
        if not self._login_ended:
            self.book.violate(f"{process} was signed out of a login that lives: {error.line}")
        elif login not in self._mourned:
            self._mourned.add(login)
            self.book.count("forced sign-out", f"{process} sees that the login has ended")
            self.disturbances.spawn(self._sign_in_again())


def alone(seed: int, share_dir: Path) -> World:
    """One process without faults: the same nights, naps and requests, all through one session that is kept fresh."""
    return World(seed, share_dir, NONE, kinds=("kept", *["program"] * len(KINDS)), one=True)

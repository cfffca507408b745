"""What a recipe's program sees while its tokens die, in four phases against a server of its own, on real time.

The server says that its access tokens live 4 s, and takes them for longer: on a busy machine time passes between the look at
a token and its use. Nothing sleeps: between two questions the test waits a quarter of a second at most for a renewal to reach
the server, and a phase ends when the server has seen what it is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from house.no_secrets import SECRET
from house.patience import NO_LIMIT_S, until

from kimi_auth import Session, SilentView
from kimi_auth.testing import Emulator
from kimi_auth.wire.answers import Grant
from sdks.programs import Program, Reply, started
from sdks.recipes import Recipe

TOKEN_LIFE_S: Final = 4.0
TICK_S: Final = 0.25
RENEWALS: Final = 2
API: Final = {"chat", "messages", "mcp", "models"}

ANSWERS: Final = "answers"
UNSEEN: Final = "answers: sent again with a newer token"
AGAIN: Final = "; answers with the next token"


@dataclass(frozen=True)
class Course:
    """The outcome of each phase, in text that does not change from run to run."""

    fresh: str
    renewed: str
    rejected: str
    signed_out: str


class Observed:
    """A recipe, its server, and its program, which is started again when it has ended."""

    def __init__(self, recipe: Recipe, python: str, environ: Mapping[str, str], server: Emulator, folder: Path) -> None:
        self._recipe, self._python, self._folder = recipe, python, folder
        self._environ = {**environ, **server.env}
        self._state = server.state
        self._session = Session(environ=server.env)
        self._starts = 0

    def course(self) -> Course:
        asyncio.run(self._session.login(SilentView()))
        with self._program() as program:
            fresh = self._fresh(program)
            assert fresh == ANSWERS, f"{fresh}: {program.errors}"
            renewed = self._renewed(program)
            assert renewed == ANSWERS, f"{renewed}: {program.errors}"
            rejected = self._rejected(program)
            if rejected == UNSEEN:
                return Course(fresh, renewed, rejected, self._signed_out(program))
            self._outlive()
            if self._ask(program).said:
                return Course(fresh, renewed, rejected + AGAIN, self._signed_out(program))
        with self._program() as program:
            assert self._ask(program).said, program.errors
            return Course(fresh, renewed, rejected + AGAIN, self._signed_out(program))

    def _fresh(self, program: Program) -> str:
        return self._word(self._ask(program))

    def _renewed(self, program: Program) -> str:
        """Questions, four in a second, until the pair has been renewed twice and both new tokens were used."""
        used = self._used()

        def word(_: float) -> str:
            self._tick()
            word = self._word(self._ask(program))
            return word if word != ANSWERS or len(self._used() - used) >= RENEWALS else ""

        return until(word, "the use of two new tokens")

    def _rejected(self, program: Program) -> str:
        """The server refuses its tokens before they end, until a question has met that: a renewal may come between."""
        before = self._refusals()
        while self._refusals() == before:
            self._state.expire_access()
            reply = self._ask(program)
        return UNSEEN if reply.said else reply.error

    def _signed_out(self, program: Program) -> str:
        self._session.logout_sync()
        return self._word(self._ask(program))

    @contextmanager
    def _program(self) -> Iterator[Program]:
        self._starts += 1
        with started(self._recipe, self._python, self._environ, self._folder / f"start-{self._starts}") as program:
            yield program
            assert not SECRET.search(program.errors), "a token is on standard error"

    def _ask(self, program: Program) -> Reply:
        reply = program.ask(self._recipe.line)
        assert reply.said in ("", self._recipe.answer), reply
        return reply

    def _word(self, reply: Reply) -> str:
        return reply.error or (ANSWERS if not self._refusals() else "answers, after a 401 that it did not see")

    def _refusals(self) -> int:
        return sum(entry["endpoint"] in API and entry["status"] == 401 for entry in self._log())

    def _used(self) -> set[str]:
        """The fingerprints of the tokens that were accepted."""
        return {
            entry["tokens"]["access_token"]
            for entry in self._log()
            if entry["endpoint"] in API and entry["status"] == 200
        }

    def _log(self) -> list[dict[str, object]]:
        return self._state.snapshot()["log"]

    def _outlive(self) -> None:
        """Returns when the token that is stored now is over by its own account, too."""
        end_s = self._state.now_s() + TOKEN_LIFE_S
        until(lambda tick_s: self._tick() or self._state.now_s() >= end_s, "a token's end")

    def _tick(self) -> None:
        renewals = self._state.counts["rotations"]
        self._state.wait_for(lambda state: state.counts["rotations"] > renewals, TICK_S)


def observed(recipe: Recipe, python: str, environ: Mapping[str, str], folder: Path) -> Course:
    """The course of one recipe, with a login and a server of its own."""
    folder.mkdir()
    share_dir = str(folder / "share")
    with Emulator(approve_after_s=0, interval_s=1, access_ttl_s=NO_LIMIT_S, share_dir=share_dir) as server:
        grow = server.state._grow

        def saying_less(*given: Any, **more: Any) -> Grant:
            return grow(*given, **more)._replace(expires_in_s=TOKEN_LIFE_S)

        server.state._grow = saying_less  # type: ignore[method-assign]
        return Observed(recipe, python, environ, server, folder).course()

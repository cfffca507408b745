"""Output of commands: facts, JSON and pictures to standard output, diagnostics to standard error, one line each.

Nothing here fails because of what a terminal cannot show: characters that it does not know become question marks.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TextIO

from kimi_auth.cli.hints import for_login
from kimi_auth.cli.signals import Signals
from kimi_auth.errors import KimiAuthError, with_hint
from kimi_auth.support.language import LANGUAGES, Sentence, joined, spoken, tr
from kimi_auth.support.text import one_line, visible

if TYPE_CHECKING:  # only what a person looks at is drawn
    from rich.console import Console, RenderableType

__all__ = ["PROGRAM", "Row", "Styled", "Terminal", "one_line"]

PROGRAM = "kimi-auth"

LOGGER = logging.getLogger("kimi_auth")


class Styled(NamedTuple):
    """One line in pieces, each a text and its style; a program reads the text alone."""

    pieces: tuple[tuple[str, str], ...]

    @property
    def text(self) -> Sentence:
        """The pieces without their styles."""
        return joined("", (text for text, _ in self.pieces))


Row = tuple[str, str | Styled]
"""A label and its value."""


def shown(text: str) -> str:
    """One line of output as it is written: clean but for tabs, which part columns; a byte that is no UTF-8 is a question mark."""
    return "\t".join(map(visible, text.encode("utf-8", "replace").decode().split("\t")))


class Terminal:
    """The two streams of one command, and how its person wants to be spoken to.

    What either stream is given is cleaned here, and nowhere else: see `kimi_auth.support.text`.

    `json`: "" for people, "object" for one JSON object on standard output, "events" for one object a line. `platform`, `account`: those
    that the command line names; hints repeat them. `language`: that of the sentences for people; a program gets English in JSON.
    `signals`: what SIGINT and its kin do to the command.
    """

    def __init__(
        self,
        *,
        json: Literal["", "object", "events"] = "",
        platform: str = "",
        account: str = "",
        language: str = LANGUAGES[0],
    ) -> None:
        self.json: Literal["", "object", "events"] = json
        self.verbose: bool = False
        self.platform = platform
        self.account = account
        can_show = _can_show(sys.stdout, language) and _can_show(sys.stderr, language)
        self.language: str = language if can_show else LANGUAGES[0]
        self.signals: Signals = Signals(self.say)
        self._logs: logging.Handler | None = None

    def text(self, said: str) -> str:
        """A sentence in this terminal's language; any other text as it is."""
        return spoken(said, self.language)

    @cached_property
    def console(self) -> Console:
        """The standard output of a command, for its pictures and tables; NO_COLOR and TERM are honoured."""
        from kimi_auth.cli.drawing import CleanConsole

        return CleanConsole(markup=False, highlight=False, emoji=False)

    @property
    def is_lively(self) -> bool:
        """True if standard output is a terminal that can redraw itself and knows more than ASCII."""
        encoding = (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "")
        return is_tty(sys.stdout) and os.environ.get("TERM", "dumb") != "dumb" and encoding == "utf8"

    # --- standard output ---------------------------------------------------------------------------------------------

    def line(self, text: str = "") -> None:
        """Writes one line of facts, there at once. Raises KimiAuthError where it cannot be written."""
        with self._writing():
            sys.stdout.write(shown(self.text(text)) + "\n")
            sys.stdout.flush()

    def told(self, text: str) -> None:
        """Writes a sentence of facts: on a terminal it is broken at blanks, everywhere else it is one line."""
        if not self.is_lively:
            self.line(text)
            return
        from rich.padding import Padding

        from kimi_auth.cli.drawing import MARGIN, Prose

        self.picture(Padding(Prose(shown(self.text(text))), (0, MARGIN)))

    def block(self, text: str) -> None:
        """Lines of facts that are one text, as `line` writes each."""
        for line in text.rstrip("\n").split("\n"):
            self.line(line)

    def record(self, value: Mapping[str, Any]) -> None:
        """Writes one JSON object on a line of its own, there at once; in ASCII, which no terminal's encoding can spoil."""
        self.line(json.dumps(value))

    def event(self, kind: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Writes one event to standard output, in the form that the Kimi CLI's `login --json` has, which editors read."""
        self.record({"type": kind, "message": message} | ({"data": dict(data)} if data is not None else {}))

    def picture(self, content: RenderableType) -> None:
        """Writes a picture as output of the command: rich draws it on standard output. Raises KimiAuthError where it cannot
        be written."""
        with self._writing():
            self.console.print(content)

    def drawn(self, text: str) -> None:
        """Writes a picture that was drawn as `text` to standard output. Raises KimiAuthError where it cannot be
        written."""
        with self._writing():
            sys.stdout.write(text)
            sys.stdout.flush()

    def rows(self, rows: Iterable[Row], title: str = "", *, platform: str = "") -> None:
        """Writes facts to standard output: aligned under `title` on a terminal, `label: value` where a program or a
        file reads; there the id of the `platform` that they are about comes first, as a fact like the others."""
        rows = list(rows)
        if not self.is_lively:
            if platform:
                self.line(tr("platform: {platform}", platform=platform))
            for label, value in rows:
                self.line(tr("{label}: {value}", label=label, value=value.text if isinstance(value, Styled) else value))
            return
        from kimi_auth.cli.drawing import sheet_of

        spelt = [(self.text(label), self._spelt(value)) for label, value in rows]
        for part in sheet_of(spelt, self.text(title)):
            self.picture(part)

    def _spelt(self, value: str | Styled) -> str | Styled:
        if isinstance(value, Styled):
            return Styled(tuple((self.text(text), style) for text, style in value.pieces))
        return self.text(value)

    def let_go(self) -> None:
        """Closes standard output for its reader; anything written from now on goes nowhere and cannot fail."""
        with suppress(AttributeError, OSError, ValueError):  # there is none, or it is no file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        if sys.stdout is None:
            raise KimiAuthError(tr("standard output is closed"), hint=tr("run it with standard output open"))
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self.unwritten(error) from None

    def unwritten(self, error: OSError) -> KimiAuthError:
        """Why standard output takes nothing, as our message; nothing is written to it any more."""
        self.let_go()
        return KimiAuthError(
            tr("cannot write to standard output: {reason}", reason=error.strerror),
            hint=tr("send the output somewhere else"),
        )

    # --- standard error ----------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Writes one line of diagnostics; where it cannot be written, the exit status has to do."""
        line = f"{PROGRAM}: {one_line(shown(self.text(text)))}\n"
        if sys.stderr is not None:
            with suppress(OSError):
                sys.stderr.write(line)
                sys.stderr.flush()

    def report(self, error: KimiAuthError, facts: Mapping[str, Any] | None = None) -> int:
        """Writes an error: a line of diagnostics, or in one JSON object with the facts known nevertheless (`facts`);
        returns the exit status. Never raises: where standard output takes nothing, standard error has said it."""
        hint = for_login(self.text(error.hint), self.platform, self.account)
        self.say(with_hint(error.message, hint))
        hint = for_login(error.hint, self.platform, self.account)
        self._record(error.code, error.message, hint, error.exit_status, facts)
        return error.exit_status

    def interrupted(self, exit_status: int) -> int:
        """Writes, as JSON for a program, that a signal ended the command; a person knows. Returns the exit status; never raises."""
        self._record("interrupted", "a signal ended the command", "", exit_status)
        return exit_status

    def _record(
        self, code: str, message: str, hint: str, exit_status: int, facts: Mapping[str, Any] | None = None
    ) -> None:
        about = {"code": code, "hint": hint, "exit": exit_status}
        try:
            if self.json == "events":
                self.event("error", one_line(message), about)
            elif self.json:
                said = {"code": code, "message": one_line(message), **about}
                self.record({**(facts or {}), "error": said})
        except (KimiAuthError, BrokenPipeError):
            self.let_go()

    # --- what modules log --------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        self._logs = _Said(self)
        LOGGER.addHandler(self._logs)
        return self

    def __exit__(self, *_: object) -> None:
        if self._logs is not None:
            LOGGER.removeHandler(self._logs)
            LOGGER.setLevel(logging.NOTSET)

    def say_more(self) -> None:
        """From now on everything that this package logs is written to standard error, too."""
        self.verbose = True
        for level in (LOGGER, self._logs):
            if level is not None:
                level.setLevel(logging.DEBUG)


class _Said(logging.Handler):
    """Log records of this package as diagnostics: warnings always, everything else with --verbose."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.say(record.getMessage())


def _can_show(stream: TextIO | None, language: str) -> bool:
    """Whether the stream's encoding has the characters of the language; a stream without one is no obstacle."""
    try:
        tr("approved") and spoken(tr("approved"), language).encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def is_tty(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False

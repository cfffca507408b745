"""Recipes as running programs: each is started as its user starts it, asked, and its end is read from what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from house.patience import ended, until

from sdks.recipes import Recipe

FOLDER = Path(__file__).parents[2] / "examples" / "sdk"
HERE = Path(__file__).parent
WORKERS = 3

_RAISED = re.compile(r"^[\s|+\-]*(?:[A-Za-z_]\w*\.)*([A-Z]\w+)(?::|$)", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """An answer, or the name of the error that the program met instead of it."""

    said: str = ""
    error: str = ""


class Program(Protocol):
    """A recipe that runs."""

    def ask(self, line: str) -> Reply: ...

    @property
    def errors(self) -> str: ...


def error_of(text: str) -> str:
    """The last error that a traceback names, and the error of ours that it came from."""
    names: list[str] = [name for name in _RAISED.findall(text) if not name.endswith("Group")]
    last = names[-1] if names else "no error is named"
    for ours in ("NotSignedIn", "Revoked"):
        if ours in names and last != ours:
            return f"{last}, from {ours}"
    return last


class Piped:
    """A program that answers each line of its standard input with one; an error ends it."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path, stack: ExitStack) -> None:
        self._errors = folder / "errors"
        errors = stack.enter_context(self._errors.open("wb"))
        pipe = subprocess.PIPE
        self._process = stack.enter_context(
            subprocess.Popen(command, env=environ, cwd=folder, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        )
        stack.callback(self._process.kill)

    def ask(self, line: str) -> Reply:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            os.write(
                self._process.stdin.fileno(), f"{line}\n".encode()
            )  # without a buffer that a dead program leaves full
        except BrokenPipeError:
            return Reply(error=error_of(self.errors))
        for answer in self._process.stdout:
            if (reply := self.read(answer.strip())) is not None:
                return reply
        ended(self._process)
        return Reply(error=error_of(self.errors))

    def read(self, line: str) -> Reply | None:
        """The answer in a line of its output; None for a line that is none."""
        return Reply(line) if line else None  # the question came with its line end, which the answer repeats

    @property
    def errors(self) -> str:
        """All that it said on standard error."""
        return self._errors.read_text("utf-8")


class Reported(Piped):
    """The same, for a program that outlives its errors: each answer is a `Reply` as JSON."""

    def ask(self, line: str) -> Reply:
        reply = super().ask(line)
        return Reply(**json.loads(reply.said)) if reply.said else reply


class Served:
    """Workers of a web application; one that fails answers with 500, and says why on standard error."""

    def __init__(self, command: list[str], environ: Mapping[str, str], folder: Path, stack: ExitStack) -> None:
        self._errors = folder / "errors"
        errors = stack.enter_context(self._errors.open("wb"))
        process = subprocess.Popen(command, env=environ, cwd=folder, stderr=errors)
        stack.callback(ended, process)
        stack.callback(process.terminate)
        found = until(lambda tick_s: re.search(r"running on (http://[\d.:]+) ", self._patiently(process, tick_s)))
        assert found
        until(lambda tick_s: self._patiently(process, tick_s).count("startup complete") == WORKERS)
        self._host = urlsplit(found[1]).netloc

    def _patiently(self, process: subprocess.Popen[bytes], tick_s: float) -> str:
        with suppress(subprocess.TimeoutExpired):
            process.wait(tick_s)
        assert process.poll() is None, self.errors
        return self.errors

    def ask(self, line: str) -> Reply:
        before = len(self.errors)
        # A connection for each question: the kernel gives each one to whichever worker is free.
        connection = HTTPConnection(self._host)
        connection.request("GET", f"/ask?{urlencode({'line': line})}", headers={"Connection": "close"})
        with connection.getresponse() as answer:
            said = answer.fp.read()  # to the connection's end, which comes after the worker has said why
        return Reply(json.loads(said)) if answer.status == 200 else Reply(error=error_of(self.errors[before:]))

    @property
    def errors(self) -> str:
        return self._errors.read_text("utf-8")


@contextmanager
def started(recipe: Recipe, python: str, environ: Mapping[str, str], folder: Path) -> Iterator[Program]:
    """The recipe as its user starts it, in `folder`; ended at the end of the block."""
    folder.mkdir()
    file = str(FOLDER / recipe.file)
    with ExitStack() as stack:
        match recipe.way:
            case "pipe":
                yield Piped([python, file], environ, folder, stack)
            case "notebook":
                yield Reported([python, str(HERE / "notebook_asker.py"), file], environ, folder, stack)
            case "http":
                options = ["--workers", str(WORKERS), "--port", "0", "--app-dir", str(FOLDER), "--no-access-log"]
                yield Served([python, "-m", "uvicorn", *options, f"{recipe.name}:app"], environ, folder, stack)
            case "celery":
                yield queued(recipe, python, environ, folder, stack)


def queued(recipe: Recipe, python: str, environ: Mapping[str, str], folder: Path, stack: ExitStack) -> Program:
    """Celery's worker processes and a program that sends them tasks; Celery's queue in files leads from one to the other."""
    for name in ("worker", "asker", "queue", "results"):
        (folder / name).mkdir()
    for link in ("worker/data_in", "worker/data_out", "asker/data_in", "asker/data_out"):
        (folder / link).symlink_to(folder / "queue")
    results = {"CELERY_BROKER_URL": "filesystem://", "CELERY_RESULT_BACKEND": f"file://{folder / 'results'}"}
    environ = {**environ, **results, "PYTHONPATH": str(FOLDER)}
    options = ["--concurrency", str(WORKERS), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    command = [python, "-m", "celery", "-A", recipe.name, "worker", *options]
    with (folder / "worker" / "errors").open("wb") as errors:
        worker = subprocess.Popen(command, env=environ, cwd=folder / "worker", stdout=errors, stderr=errors)
    stack.callback(ended, worker)
    stack.callback(worker.terminate)
    return Reported([python, str(HERE / "celery_asker.py"), recipe.name], environ, folder / "asker", stack)

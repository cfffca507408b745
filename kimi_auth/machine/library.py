"""All machines of a folder: found, read, linted and linked. The only door through which machines come in."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import lint
from .errors import SpecError
from .spec import Machine, Misshapen, State, keys_of, shaped

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_PACKAGE = __name__.partition(".")[0]

DEPTH_MAX = 32
"""Levels of data in a file; a machine has five, and deeper nesting would exhaust every recursion over it."""

TOO_DEEP = "it is nested too deeply"


class Library(Mapping[str, Machine]):
    """Machines by name, sorted. Each has passed every lint, and states that walk a child find it in here."""

    def __init__(self, machines: Mapping[str, Machine]) -> None:
        """Lint and link `machines`, keyed by file stem. Raises `SpecError` with all problems at once."""
        problems = list(lint.problems(machines))
        if problems:
            raise SpecError(problems)
        linked: dict[str, Machine] = {}
        for name in lint.children_first(machines):
            linked[name] = machines[name].linked(linked)
        self._machines = {name: linked[name] for name in sorted(linked)}

    @classmethod
    def load(cls, folder: Path | Traversable | None = None) -> Library:
        """Every `*.toml` of `folder`; without one, the machines of this package, read once and kept.

        Raises `SpecError` if there are none, or with everything that is wrong with them.
        """
        return _own_machines() if folder is None else _read(folder)

    @staticmethod
    def is_loaded() -> bool:
        """True if `load` of the package's own machines returns at once."""
        return _own_machines.cache_info().currsize > 0

    @classmethod
    def from_data(cls, files: Mapping[str, Mapping[str, Any]]) -> Library:
        """What `load` does after parsing: `files` maps each file's stem to its tables."""
        return _build(files, unreadable=[])

    def data(self) -> dict[str, dict[str, Any]]:
        """The library as plain, fresh dicts that `from_data` takes back: change them and lint again."""
        return {name: machine.data() for name, machine in self.items()}

    def lint_lock(self, guarded: Mapping[str, str]) -> list[str]:
        """Lints all machines for lock discipline, one line for each breach: `guarded` maps an activity to its resource.

        A guarded activity may stand only in states that hold its resource, or in a machine that does. A guarded name that
        no state of the library runs is a problem too, for it guards nothing.
        """
        return list(lint.lock_problems(self, guarded))

    def __getitem__(self, name: str) -> Machine:
        return self._machines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._machines)

    def __len__(self) -> int:
        return len(self._machines)

    def __repr__(self) -> str:
        return f"<Library {', '.join(self)}>"


@cache
def _own_machines() -> Library:
    return _read(own_folder())


def find(package: Path | Traversable, checkout: Path) -> Path | Traversable:
    """The folder of the library's machines: inside the package (wheel, zip), else beside it (bare checkout, editable install)."""
    folders = (package / "machines", checkout / "machines")
    for folder in folders:
        if holds_machines(folder):
            return folder
    raise SpecError(
        [f"no machines in {folders[0]} nor in {folders[1]}; install {_PACKAGE} again, its files are incomplete"]
    )


def holds_machines(folder: Path | Traversable) -> bool:
    """Whether a library can be loaded: there is such a folder with a machine's file in it."""
    return folder.is_dir() and any(stem_of(file.name) for file in folder.iterdir())


def in_checkout(where: Path | None = None) -> Path | None:
    """The folder of a checkout's machines: `machines/` of `where` (default: the working directory), or of the nearest folder
    above it up to the root of a git checkout. None where there is none: then this package's machines are meant."""
    start = (where or Path()).absolute()
    for folder in (start, *start.parents):
        if holds_machines(folder / "machines"):
            return folder / "machines"
        if (folder / ".git").exists():
            break
    return None


def stem_of(name: str) -> str:
    """Which machine a file of this name in a folder holds; "" for none, and for what an editor hides beside one."""
    stem, _, ending = name.rpartition(".")
    return stem if ending == "toml" and not name.startswith(".") else ""


def drafts(folder: Path | Traversable | None = None) -> dict[str, Machine]:
    """The machines of a folder as they are written, by file stem, whatever the lints say of them; default: this package's.

    For looking at machines, never for walking them. Raises `SpecError` if the files cannot be read as machines.
    """
    return drafts_from_data(*_files(folder or own_folder()))


def drafts_from_data(files: Mapping[str, Mapping[str, Any]], unreadable: Iterable[str] = ()) -> dict[str, Machine]:
    """What `drafts` does with the machines' files after parsing."""
    machines, problems = _parsed(files)
    if problems or unreadable:
        raise SpecError(sorted([*unreadable, *problems]))
    return machines


def own_folder() -> Path | Traversable:
    """Where the machines are that this program runs. Raises `SpecError` where there are none."""
    package = Path(__file__).parents[1]
    if not package.is_dir():  # in a zip; else a path does, without all that it takes to look into archives
        from importlib import resources

        return find(resources.files(_PACKAGE), Path(__file__).resolve().parents[2])
    return find(package, Path(__file__).resolve().parents[2])


def _read(folder: Path | Traversable) -> Library:
    return _build(*_files(folder))


def _files(folder: Path | Traversable) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """The tables of each file by its stem, and one line for each file that cannot be read."""
    try:
        found = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise SpecError([f"{folder} cannot be read ({error.strerror}); make it readable, or name another"]) from None
    files: dict[str, Mapping[str, Any]] = {}
    unreadable: list[str] = []
    for file in found:
        stem = stem_of(file.name)
        if not stem:
            continue
        if not file.is_file():
            unreadable.append(f"{file.name}: is no file; move it away")
            continue
        try:
            files[stem] = toml_of(file.read_bytes().decode())
        except OSError as error:
            unreadable.append(f"{file.name}: cannot be read ({error.strerror}); make it readable")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            unreadable.append(f"{file.name}: is not TOML ({error}); fix the syntax there")
    if not files and not unreadable:
        raise SpecError([f"{folder} holds no machine; give a folder with a NAME.toml for each machine"])
    return files, unreadable


def toml_of(text: str) -> dict[str, Any]:
    """The text of a machine's file as plain data. Raises TOMLDecodeError, also for data nested deeper than any machine's."""
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise tomllib.TOMLDecodeError(TOO_DEEP) from None
    level: list[Any] = [data]
    for _ in range(DEPTH_MAX):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise tomllib.TOMLDecodeError(TOO_DEEP)
    return data


def _build(files: Mapping[str, Mapping[str, Any]], unreadable: list[str]) -> Library:
    machines, misshapen = _parsed(files)
    problems = [*sorted(unreadable), *misshapen]
    if problems:
        raise SpecError([*problems, *lint.problems(machines, complete=not unreadable)])
    return Library(machines)


def _parsed(files: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Machine], list[str]]:
    machines: dict[str, Machine] = {}
    problems: list[str] = []
    for stem in sorted(files):
        machines[stem], misshapen = _parse(stem, files[stem])
        problems += misshapen
    return machines, problems


def _parse(stem: str, data: Mapping[str, Any]) -> tuple[Machine, list[str]]:
    """The machine that `data` describes, and the parts that were left out to get one."""
    machine, misshapen = shaped(data)
    return machine, [lint.line(stem, *_explain(one)) for one in misshapen]


def _explain(misshapen: Misshapen) -> lint.Problem:
    """The problem of a file that the library cannot read: where a part has the wrong shape, and what to write instead."""
    *path, key = misshapen.path
    in_state = len(path) > 1
    where = lint.place(path[1]) if in_state else lint.TOP
    if misshapen.kind == "unknown":
        known = keys_of(State if in_state else Machine)
        return where, f"unknown key {key!r}; {lint.did_you_mean(key, known, 'known are ' + ', '.join(known))}"
    name = ".".join([*(path[2:] if in_state else path), key])
    return where, f"{name} has the wrong type; write {'text in quotes' if misshapen.kind == 'no text' else 'a table'}"

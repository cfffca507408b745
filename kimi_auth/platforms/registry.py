"""Which platforms there are: the built-in ones, those of the user's `platforms.toml`, those that packages bring.

The three have one form, that of `builtin.toml`, and pass one check. A package brings platforms with an entry point of the
group `kimi_auth.platforms` that loads to such a text, or to a function that returns one:

    [project.entry-points."kimi_auth.platforms"]
    example = "example_platforms:PLATFORMS_TOML"

An id belongs to the first source that has it, in this order, so no file can move a built-in platform to other servers.
A source that cannot be read costs its own platforms only, and a table that is wrong only the one: that is a *problem*,
raised when a caller asks for an id that it may hold.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kimi_auth import files
from kimi_auth.errors import ConfigError
from kimi_auth.platforms.spec import CapabilityRule, Platform, builtin, managed_model_key, resolve
from kimi_auth.support.language import listed, said_by, tr

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINTS", "FILE_NAME", "Registry", "all", "get", "managed_model_key", "read_file", "resolve"]

ENTRY_POINTS = "kimi_auth.platforms"
FILE_NAME = "platforms.toml"
BYTES_MAX = 1 << 20


class Text(NamedTuple):
    """A source's text, and why a secret in it is none ("": only its owner can read it), with the command that helps."""

    text: str
    exposed: str = ""
    fix: str = ""


class Source(NamedTuple):
    """Where platforms come from: what it is called in errors, what gives its text (None: it says nothing), and how to
    fix it."""

    name: str
    text: Callable[[], Text | None]
    fix: str


class Registry:
    """Every platform that can be used with one share dir. Sources are read when they are first needed, the built-in one
    first, so a built-in platform is found without a look at any other."""

    def __init__(self, share_dir: Path | None = None) -> None:
        self._share_dir = share_dir

    def all(self) -> tuple[Platform, ...]:
        """Every platform in a fixed order: built in, the user's, packages' by name; before any override."""
        return self._read[0]

    @property
    def path(self) -> Path | None:
        """The user's own platform file, where there is a share dir."""
        return self._share_dir / FILE_NAME if self._share_dir is not None else None

    def source_of(self, platform: Platform) -> str:
        """Where the platform comes from: "built in", the user's file, or a package."""
        return self._read[2].get(platform.id, tr("built in"))

    @property
    def problems(self) -> tuple[ConfigError, ...]:
        """The mistakes in the sources, a sentence each; the correct parts are used all the same."""
        return tuple(problem for _, problem in self._read[1])

    def find(self, platform_id: str) -> Platform | None:
        """The platform of that id, before any override; None if no source has it. Raises `ConfigError` with the mistake
        in its table, or with the first source that cannot be read and may hold it."""
        for known in (builtin, self.all):
            if found := next((platform for platform in known() if platform.id == platform_id), None):
                return found
        for about, problem in self._read[1]:
            if about in (platform_id, None):
                raise ConfigError(problem.message, hint=problem.hint)
        return None

    def get(self, platform_id: str) -> Platform:
        """The platform of that id as `find` gives it; raises `ConfigError` if no source has it."""
        found = self.find(platform_id)
        if found is None:
            raise self.unknown(platform_id)
        return found

    def unknown(self, platform_id: str) -> ConfigError:
        """The error for an id that no source of the registry has."""
        ids = listed(platform.id for platform in self.all())
        return ConfigError(
            tr("no platform is called {platform}", platform=ascii(platform_id)[:80]),
            hint=tr("known: {names}", names=ids),
        )

    @cached_property
    def _read(self) -> tuple[tuple[Platform, ...], list[tuple[str | None, ConfigError]], dict[str, str]]:
        """The platforms of the registry, problems with the id of the platform that each is about (None: the source as a
        whole), and the source of each platform that is not built in."""
        rules = builtin()[0].capability_rules
        known = {platform.id: platform for platform in builtin()}
        problems: list[tuple[str | None, ConfigError]] = []
        origins: dict[str, str] = {}
        for source in self._sources():
            try:
                given, wrong = platforms_of(source, rules)
            except ConfigError as problem:
                problems.append((None, problem))
                continue
            problems += wrong.items()
            for platform in given:
                if known.setdefault(platform.id, platform) is platform:
                    origins[platform.id] = source.name
                else:
                    problems.append((platform.id, taken(source, platform.id)))
        return tuple(known.values()), problems, origins

    def _sources(self) -> Iterator[Source]:
        from importlib.metadata import entry_points  # not needed to find a platform that is built in

        if self.path is not None:
            yield source_at(self.path)
        for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
            package = entry.dist.name if entry.dist else entry.module
            text = partial(_text_of_package, entry)
            yield Source(tr("the package {package}", package=package), text, tr("update or uninstall that package"))


def all() -> tuple[Platform, ...]:  # noqa: A001  (read as registry.all())
    """The built-in platforms, in the order of the data, before any override."""
    return builtin()


def get(platform_id: str) -> Platform:
    """A platform that needs no share dir, built in or of a package; else as `Registry.get`."""
    return Registry().get(platform_id)


def platforms_of(
    source: Source, rules: tuple[CapabilityRule, ...]
) -> tuple[tuple[Platform, ...], dict[str, ConfigError]]:
    """The platforms of a source, in its order, and for each id whose table is wrong, how. Raises `ConfigError` where the
    source as a whole cannot be read."""
    try:
        found = source.text()
    except OSError as exc:
        words, hint = files.reason(exc, Path(source.name))
        raise ConfigError(
            said_by(exc)
            if isinstance(exc, files.Unfit)
            else tr("{source}: {reason}", source=source.name, reason=words),
            hint=hint,
        ) from None
    except Exception as exc:  # noqa: BLE001  (what a package does when it is loaded is its own affair)
        words = tr("{source}: its platforms cannot be loaded: {error}", source=source.name, error=type(exc).__name__)
        raise ConfigError(words, hint=source.fix) from None
    if found is None:
        return (), {}
    from kimi_auth.platforms.tables import (
        parse,  # with it comes pydantic, and most users have no platforms of their own
    )

    platforms, problems = parse(found.text, source.name, rules=rules, fix=source.fix)
    exposed = [one.id for one in platforms if found.exposed and one.oauth and one.oauth.client_secret]
    for one in exposed:
        message = tr(
            "{source}: platforms.{platform}.oauth.client_secret: {problem}",
            source=source.name,
            platform=one,
            problem=found.exposed,
        )
        problems[one] = ConfigError(message, hint=found.fix)
    return tuple(one for one in platforms if one.id not in exposed), problems


def read_file(path: Path) -> tuple[tuple[Platform, ...], tuple[ConfigError, ...]] | None:
    """The platforms of the user's file, and its errors; None if there is no such file."""
    source = source_at(path)
    if not path.exists():
        return None
    try:
        platforms, wrong = platforms_of(source, builtin()[0].capability_rules)
    except ConfigError as problem:
        return (), (problem,)
    problems = [*wrong.values(), *(taken(source, one.id) for one in platforms if one.id in _builtin_ids())]
    return tuple(one for one in platforms if one.id not in _builtin_ids()), tuple(problems)


def taken(source: Source, platform_id: str) -> ConfigError:
    """What the registry says about a platform whose id an earlier source has."""
    message = tr("{source}: platforms.{platform}: that id is taken", source=source.name, platform=platform_id)
    return ConfigError(message, hint=tr("give that platform another id"))


def source_at(path: Path) -> Source:
    """A platform file as a source."""
    import shlex

    return Source(
        str(path), lambda: text_of(path), tr("correct it: ${{EDITOR:-vi}} {path}", path=shlex.quote(str(path)))
    )


def _builtin_ids() -> frozenset[str]:
    return frozenset(platform.id for platform in builtin())


def text_of(path: Path) -> Text | None:
    """The text of a platform file of the registry; None if there is none. Raises OSError."""
    import shlex

    found = files.read_bounded(path, BYTES_MAX, follow=True)
    if found is None:
        return None
    text = found.data.decode("utf-8-sig", "replace")
    mode = stat.S_IMODE(found.stat.st_mode)
    if mode & 0o077:
        return Text(
            text,
            tr("its mode is {mode:04o}, and others may read the secret", mode=mode),
            f"chmod 600 {shlex.quote(str(path))}",
        )
    return Text(text)


def _text_of_package(entry: EntryPoint) -> Text:
    loaded = entry.load()
    text = loaded() if callable(loaded) else loaded
    if not isinstance(text, str):
        raise TypeError(tr("not a text"))
    return Text(text)

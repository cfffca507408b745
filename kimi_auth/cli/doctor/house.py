"""What lies around the credential: the share directory, config.toml and its models, the user's platforms."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kimi_auth._version import __version__
from kimi_auth.cli.doctor.check import SYNC, Check
from kimi_auth.errors import ConfigError
from kimi_auth.flows.status import Status
from kimi_auth.session import Session

__all__ = ["is_blocked", "location", "models", "platforms"]

OVERRIDES = ("KIMI_CODE_OAUTH_HOST", "KIMI_OAUTH_HOST", "KIMI_CODE_BASE_URL")


def location(session: Session, _: Status) -> Iterator[Check]:
    """Which version looks where; a place that is none, or that depends on where a command is started."""
    overrides = [name for name in OVERRIDES if os.environ.get(name)]
    yield Check("version", f"kimi-auth {__version__}" + "".join(f", {name} is set" for name in overrides))
    given = os.environ.get("KIMI_SHARE_DIR")
    path = session.share_dir
    evidence, step = f"{path} ({'KIMI_SHARE_DIR' if given else 'default'})", ""
    if not path.is_absolute():
        evidence += ", which is another place in every directory"
        step = f"export KIMI_SHARE_DIR={shlex.quote(str(Path.cwd() / path))}"
    elif is_blocked(session):
        evidence += ", which is no directory"
        step = f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.aside')}"
    yield Check("share dir", evidence, step)


def is_blocked(session: Session) -> bool:
    """Whether something that is no directory is where the share directory should be."""
    return os.path.lexists(session.share_dir) and not session.share_dir.is_dir()


def models(session: Session, found: Status) -> Iterator[Check]:
    """config.toml: understood, writable, with the platform's models and a default model that is one of them."""
    path = shlex.quote(str(session.config.path))
    try:
        config = session.config.read()
    except ConfigError as error:
        yield Check("config.toml", error.message, f"correct it: ${{EDITOR:-vi}} {path}")
        return
    known, providers = _table(config, "models"), _table(config, "providers")
    ours = [key for key, model in known.items() if _provider(model) == session.platform.provider_key]
    signed_in = found.state not in {"absent", "revoked", "corrupt"}
    yield Check(
        "models",
        f"{len(ours)} of {session.platform.name} in config.toml",
        SYNC if signed_in and not ours else "",
    )
    default = str(config.get("default_model") or "")
    if default and default not in known:
        wrong = ", which is none of the models in config.toml"
    elif default and _provider(known[default]) not in providers:
        wrong = ", whose provider is not in config.toml"
    else:
        wrong = ""
    step = f"{SYNC}, or name another default_model: ${{EDITOR:-vi}} {path}"
    yield Check("default model", (default or "none") + wrong, step if wrong else "")


def platforms(session: Session, _: Status) -> Iterator[Check]:
    """Platforms that the user or a package brings, and that cannot be used."""
    for problem in session.registry.problems:
        yield Check("platforms", problem.message, problem.hint)
    if not session.registry.problems:
        yield Check("platforms", f"{len(session.registry.all())} known")


def _table(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = config.get(name)
    return table if isinstance(table, Mapping) else {}


def _provider(model: object) -> object:
    return model.get("provider") if isinstance(model, Mapping) else None

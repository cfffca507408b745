"""What lies around the credential: the share directory, config.toml and its models, the user's platforms."""

from __future__ import annotations

import errno
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kimi_auth import files
from kimi_auth._version import __version__
from kimi_auth.cli.doctor.check import SYNC, Check
from kimi_auth.cli.options import components_of
from kimi_auth.cli.status_words import source_words
from kimi_auth.credential.status import Status
from kimi_auth.errors import ConfigError
from kimi_auth.models.contents import account_of
from kimi_auth.models.elsewhere import elsewhere
from kimi_auth.models.variables import BASE_URL
from kimi_auth.selection import (
    API_BASE_VARIABLES,
    LOGIN,
    OAUTH_HOST_VARIABLES,
    UNLABELLED,
    key_before_login,
)
from kimi_auth.support.language import joined, listed, tr
from kimi_auth.token import key_fingerprint

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["account", "is_blocked", "location", "models", "platforms", "variables"]

OVERRIDES = (*OAUTH_HOST_VARIABLES, *API_BASE_VARIABLES)
ELSEWHERE = tr("name another directory: export KIMI_SHARE_DIR=/a/directory")


def location(session: Session, status: Status) -> Iterator[Check]:
    """Checks which version looks where, and for a share dir that cannot be one or depends on where a command is started."""
    overrides = [name for name in OVERRIDES if os.environ.get(name)]
    told = joined("", (f"kimi-auth {__version__}", *(tr(", {name} is set", name=name) for name in overrides)))
    yield Check(tr("version"), told)
    path = components_of(session).share_dir
    evidence, step = tr("{path} ({source})", path=path, source=source_words(status.sources["share_dir"])), ""
    if not path.is_absolute():
        evidence += tr(", which is a different location in every directory")
        step = f"export KIMI_SHARE_DIR={shlex.quote(str(Path.cwd() / path))}"
    else:
        words, step = _obstacle(path)
        evidence += words
    yield Check(tr("share dir"), evidence, step)
    if path.is_absolute() and not step:
        for words, step in _remarks(path).items():
            yield Check(tr("share dir"), words, step)


def variables(session: Session, found: Status) -> Iterator[Check]:
    """What our own commands and the Kimi CLI take from the environment instead of this login; a finding where the latter
    sends its token elsewhere."""
    _, source = key_before_login(components_of(session).environ, key_fingerprint)
    if source != LOGIN:
        told = tr("{name} is set: token, run, status, models, me and usage use it instead of this login", name=source)
        yield Check(tr("credential chain"), told, "")
    for name, says in found.overridden_by.items():
        yield Check(
            tr("variable"), tr("{name} {says}", name=name, says=says), f"unset {name}" if name == BASE_URL else ""
        )


def account(session: Session, found: Status) -> Iterator[Check]:
    """Checks the account that doctor looks at, and whether the Kimi CLI's config.toml has the one in use."""
    parts = components_of(session)
    if not parts.account:
        return
    try:
        in_use = parts.accounts.in_use(parts.platform.id) or UNLABELLED
        config = parts.config.read()
    except ConfigError as error:
        if error.message and parts.accounts.path.name in error.message:
            yield Check(tr("account"), error.message, error.hint)
        return
    configured = account_of(config, parts.platform)
    if parts.account != UNLABELLED or in_use != UNLABELLED or configured:
        told = tr(
            "{name} ({source}); in use: {other}",
            name=parts.account,
            source=source_words(found.sources["account"]),
            other=in_use,
        )
        yield Check(tr("account"), told)
    if configured is not None and (configured or UNLABELLED) != in_use:
        words = tr(
            "config.toml names the account {name}, and {other} is in use", name=configured or UNLABELLED, other=in_use
        )
        yield Check(tr("account"), words, f"kimi-auth accounts use {in_use}")


def is_blocked(session: Session) -> bool:
    """Whether doctor's other checks have nothing to look at: the share directory cannot be entered."""
    return bool(_obstacle(components_of(session).share_dir)[0])


def _obstacle(path: Path) -> tuple[str, str]:
    """What doctor says of a share directory `path` that nothing can be in: why, and the next step; ("", "") for one
    that can be made or used."""
    try:
        if os.path.lexists(path) and not path.is_dir():
            if not path.is_file():
                return tr(", which is not a directory"), ELSEWHERE
            return tr(", which is not a directory"), f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.aside')}"
        for directory in _directories(path):
            list(files.remarks(directory))
    except files.Unfit as error:
        return tr(": {reason}", reason=error) if error.path != path else " " + error.message, error.hint
    except FileNotFoundError:
        return ("", "") if path.exists() else _not_makeable(path)
    except OSError as error:
        words, hint = files.reason(error, path)
        return tr(": {reason}", reason=words), hint or ELSEWHERE
    return "", ""


def _not_makeable(path: Path) -> tuple[str, str]:
    """Why the missing share directory cannot be made; ("", "") where it can. Makes a directory beside it, and takes that away."""
    above = next(directory for directory in path.parents if directory.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".kimi-auth-", dir=above))  # noqa: PTH106
    except OSError as error:
        words = tr("read-only") if error.errno == errno.EROFS else os.strerror(error.errno or 0)
        return tr(", which cannot be made: {above}: {reason}", above=above, reason=words), ELSEWHERE
    return "", ""


def _remarks(path: Path) -> dict[str, str]:
    """Unusual properties of the login's directories, which may be intended: the next step for each."""
    try:
        return dict(remark for directory in _directories(path) for remark in files.remarks(directory))
    except OSError:
        return {}


def _directories(path: Path) -> Iterator[Path]:
    yield path
    yield from (path / name for name in ("credentials", "kimi-auth") if files.is_directory(path / name))


def models(session: Session, found: Status) -> Iterator[Check]:
    """Checks that config.toml is understood and writable, has the platform's models, and one of them as default model."""
    edit = f"${{EDITOR:-vi}} {shlex.quote(str(components_of(session).config.path))}"
    try:
        config = components_of(session).config.read()
    except ConfigError as error:
        evidence = error.message.removesuffix("; nothing was changed")
        yield Check(
            "config.toml",
            evidence,
            error.hint if isinstance(error.__cause__, OSError) else tr("correct it: {edit}", edit=edit),
        )
        return
    known, providers = _table(config, "models"), _table(config, "providers")
    ours = [key for key, model in known.items() if _provider(model) == session.platform.provider_key]
    signed_in = found.state not in {"absent", "revoked", "corrupt"}
    is_ours = components_of(session).home.kind.owns_config
    step = SYNC if is_ours else tr("let kimi-code write them: kimi login")
    yield Check(
        tr("models"),
        tr("{number} of {platform} in config.toml", number=len(ours), platform=session.platform.name),
        step if signed_in and not ours and session.platform.models != () else "",
    )
    default = str(config.get("default_model") or "")
    if default and default not in known:
        gone = tr("{default}, which is not a model in config.toml", default=default)
        yield Check(
            tr("default model"), gone, tr("{sync}, or name another default_model: {edit}", sync=step, edit=edit)
        )
    else:
        yield Check(tr("default model"), default or tr("none"))
    for place, host in elsewhere(config, session.platform).items():
        evidence = tr(
            "{key} is not {api_base}: the Kimi CLI sends this login's token to {host}",
            key=place,
            api_base=session.platform.api_base,
            host=host,
        )
        yield Check(tr("provider"), evidence, tr("correct it: {edit}", edit=edit))
    # One such model is enough for the Kimi CLI not to load the file at all.
    orphans = listed(key for key, model in known.items() if _provider(model) not in providers)
    if orphans:
        yield Check(
            tr("providers"),
            tr("config.toml has no provider for: {orphans}", orphans=orphans),
            tr("add it, or take the model out: {edit}", edit=edit),
        )


def platforms(session: Session, _: Status) -> Iterator[Check]:
    """doctor's findings about the platforms that the user or a package brings, and that cannot be used."""
    for problem in components_of(session).registry.problems:
        yield Check(tr("platforms"), problem.message, problem.hint)
    if not components_of(session).registry.problems:
        yield Check(tr("platforms"), tr("{number} known", number=len(components_of(session).registry.all())))


def _table(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = config.get(name)
    return table if isinstance(table, Mapping) else {}


def _provider(model: object) -> str:
    provider = model.get("provider") if isinstance(model, Mapping) else None
    return provider if isinstance(provider, str) else ""

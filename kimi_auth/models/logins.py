"""Several logins in one config.toml: pure functions from what the file and its undo say to the next file and undo.

A login remembers the defaults that it found. A login that goes hands them to the next one, which found the defaults that
the first had put there. A login that the Kimi CLI made may be in the remembered text: a sync or a logout then changes it
there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kimi_auth.errors import ConfigError
from kimi_auth.models.configtext import Content, parse, parse_if_valid, rendered
from kimi_auth.models.contents import account_of, has_login
from kimi_auth.models.planning import Change, unplan
from kimi_auth.models.undo import Found, Undo
from kimi_auth.platforms.spec import Platform, managed_provider_key, parse_managed_provider_key

__all__ = ["after_login", "after_logout", "after_sync", "current", "without"]

_DEFAULTS = ("default_model", "default_thinking")


def current(undo: Undo, config: Mapping[str, Any]) -> Undo:
    """The undo of several logins without those that are no longer in the config; an empty one if another program took them
    all out."""
    there = _managed(config)
    logins = {name: found for name, found in undo.logins.items() if managed_provider_key(name) in there}
    return undo.model_copy(update={"logins": logins}) if logins else Undo()


def without(path: Path, content: Content, platform: Platform, undo: Undo) -> Content:
    """The content without the platform: the very bytes that the first login found, where this is the last one and nothing
    else has written since, else the content less the platform's part. Raises `ConfigError` as `unplan` and `rendered`."""
    config, found = parse(path, content), undo.logins.get(platform.id)
    if account_of(config, platform) not in {None, platform.account}:
        return content  # the provider is of another account, which owns what the undo remembers, too
    if found is None and not has_login(config, platform):
        return content
    before = parse_if_valid(undo.before) if found else None
    if found is None or before is None:
        return rendered(path, content, unplan(config, platform))
    if len(undo.logins) == 1 and undo.wrote(content) and _is_whole(before, config, platform):
        return undo.before
    as_found = {key: value for key, value in before.items() if key not in _DEFAULTS} | found.defaults()
    goes = None
    if found.put_thinking is not None:
        is_newest = list(undo.logins)[-1] == platform.id
        goes = is_newest and config.get("default_thinking") is found.put_thinking
    return rendered(path, content, unplan(config, platform, before=as_found, thinking_goes=goes))


def after_login(path: Path, undo: Undo, change: Change, old: Content, new: Content) -> Undo:
    """The undo of all logins once one has made `new` from `old`; its platform is the newest then, even if it was there
    before."""
    platform, earlier = change.owner, undo.logins.get(change.platform)
    out = without(path, old, platform, undo)
    put = earlier.put_thinking if earlier else None
    if change.default_after.startswith(platform.model_key("")):
        thinking = change.after.get("default_thinking")
        put = thinking if isinstance(thinking, bool) else None
    found = Found.of(change.before if out is old else parse(path, out), put_thinking=put)
    others = _handed_down(undo.logins, platform)
    before = _stepped(undo, platform, lambda text: without(path, text, platform, Undo())) if others else out
    earlier_ones = undo if others or undo.wrote(old) else Undo()
    return earlier_ones.writing(old, new, before, {**others, platform.id: found})


def after_logout(path: Path, undo: Undo, platform: Platform, old: Content, new: Content) -> Undo:
    """With several logins in config.toml: the undo before a logout makes `new` from `old`. The platform's own entry stays until `new` is on disk."""
    logins = {name: undo.logins[name] for name in undo.logins if name == platform.id}
    before = _stepped(undo, platform, lambda text: without(path, text, platform, Undo()))
    return undo.writing(old, new, before, _handed_down(undo.logins, platform) | logins)


def after_sync(undo: Undo, platform: Platform, old: Content, new: Content, step: Callable[[Content], Content]) -> Undo:
    """The undo once a sync has made `new` from `old`; `step` does the same to another text."""
    return undo.writing(old, new, _stepped(undo, platform, step), undo.logins) if undo.logins else undo


def _handed_down(logins: Mapping[str, Found], platform: Platform) -> dict[str, Found]:
    """What the undo of a logout hands down: the next one after the platform's found the defaults that this one put
    there; it gets those that this one found."""
    names = list(logins)
    others = {name: found for name, found in logins.items() if name != platform.id}
    if platform.id not in names or names[-1] == platform.id:
        return others
    gone, next_one = logins[platform.id], names[names.index(platform.id) + 1]
    found = others[next_one]
    model = found.default_model
    update: dict[str, str | bool | None] = {}
    if model is not None and model.startswith(platform.model_key("")):
        update["default_model"] = gone.default_model
    if gone.put_thinking is not None and found.default_thinking is gone.put_thinking:
        update["default_thinking"] = gone.default_thinking
    return others | {next_one: found.model_copy(update=update)}


def _stepped(undo: Undo, platform: Platform, step: Callable[[Content], Content]) -> Content:
    """The remembered text after the step, if it has the platform's login: of ours it has none. A text that cannot take the
    step stays as it is; `_is_whole` knows that it does not fit any more."""
    before = None if platform.id in undo.logins else parse_if_valid(undo.before)
    if before is None or not has_login(before, platform):
        return undo.before
    try:
        return step(undo.before)
    except ConfigError:
        return undo.before


def _is_whole(before: Mapping[str, Any], config: Mapping[str, Any], platform: Platform) -> bool:
    """Whether `before` has the same other logins as the config: after a crash in the wrong moment it may not."""
    own = {platform.provider_key}
    return not has_login(before, platform) and _managed(before) - own == _managed(config) - own


def _managed(config: Mapping[str, Any]) -> set[str]:
    providers = config.get("providers")
    return {key for key in providers if parse_managed_provider_key(key)} if isinstance(providers, dict) else set()

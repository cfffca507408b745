"""Several logins in one config.toml, each on top of the one before: pure functions from what the file and its undo say.

Every login remembers the text that it found. What happens to the file later happens to those texts, too: a sync changes
its platform's models in them, and a logout takes its platform out of them. So the text that a login remembers is always
the file as it would be without that login, whichever of them goes first; and an edit by hand is in the
texts that were found after the edit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any

from kimi_auth.errors import ConfigError
from kimi_auth.models.configtext import Content, parse, parse_if_valid, rendered
from kimi_auth.models.planning import Change, has_login, unplan
from kimi_auth.models.undo import Entries, UndoEntry
from kimi_auth.platforms.spec import Platform, managed_provider_key, parse_managed_provider_key

__all__ = ["after_login", "after_logout", "moved", "without"]

Step = Callable[[Content], Content]
"""From a config's text to the new one. May raise `ConfigError`."""


def without(path: Path, content: Content, platform: Platform, entries: Entries) -> Content:
    """The config without the platform: the very bytes that its login found, if the file is unchanged since, else
    the content without the platform's tables. Raises `ConfigError` as `unplan` and `rendered`."""
    config, entry = parse(path, content), entries.get(platform.id)
    if entry is None and not has_login(config, platform):
        return content
    before = parse_if_valid(entry.before) if entry else None
    if entry and before is not None and entry.wrote(content) and _is_whole(before, config, platform):
        return entry.before
    goes = entry and entry.default_thinking
    if goes is not None:
        goes = config.get("default_thinking") is goes and _is_newest(platform, config, entries)
    return rendered(path, content, unplan(config, platform, before=before, thinking_goes=goes))


def after_login(path: Path, entries: Entries, change: Change, old: Content, new: Content) -> Entries:
    """The entries once a login has made `new` from `old`. Its platform comes out from under the others and on top of them."""
    platform, earlier = change.owner, entries.get(change.platform)
    others = {name: entry for name, entry in entries.items() if name != platform.id}
    out = _taking_out(path, platform, entries)
    found = _tried(out, old)
    thinking = earlier.default_thinking if earlier else None
    if change.default_after.startswith(platform.model_key("")):
        put = parse(path, new).get("default_thinking")
        thinking = put if isinstance(put, bool) else None
    written = (old, new) if earlier and earlier.wrote(old) else (new,)
    return moved(others, old, found, out) | {platform.id: UndoEntry.of(found, written, default_thinking=thinking)}


def after_logout(path: Path, entries: Entries, platform: Platform, old: Content, new: Content) -> Entries:
    """The entries once a logout has made `new` from `old`; the platform's own stays until that is on disk."""
    own = {name: entry for name, entry in entries.items() if name == platform.id}
    return moved(entries, old, new, _taking_out(path, platform, entries)) | own


def moved(entries: Entries, old: Content, new: Content, step: Step) -> Entries:
    """The entries once `step` has made `new` from `old`: it is done to every remembered text, too."""
    texts = {entry.before: _tried(step, entry.before) for entry in entries.values()}
    moves = [(old, new), *texts.items()]
    return {name: entry.moved(texts[entry.before], moves) for name, entry in entries.items()}


def _taking_out(path: Path, platform: Platform, entries: Entries) -> Step:
    return lambda text: without(path, text, platform, entries) if has_login(parse(path, text), platform) else text


def _tried(step: Step, text: Content) -> Content:
    """A text that cannot take the step stays as it is; `_is_whole` knows that it does not fit any more."""
    try:
        return step(text)
    except ConfigError:
        return text


def _is_whole(before: Mapping[str, Any], config: Mapping[str, Any], platform: Platform) -> bool:
    """Whether `before` has the same other logins as the config: after a crash in the wrong moment it may not."""
    own = {platform.provider_key}
    return not has_login(before, platform) and _managed(before) - own == _managed(config) - own


def _is_newest(platform: Platform, config: Mapping[str, Any], entries: Entries) -> bool:
    """Whether no other login in the config is younger than the platform's."""
    newer = islice(dropwhile(lambda name: name != platform.id, entries), 1, None)
    return _managed(config).isdisjoint(map(managed_provider_key, newer))


def _managed(config: Mapping[str, Any]) -> set[str]:
    providers = config.get("providers")
    return {key for key in providers if parse_managed_provider_key(key)} if isinstance(providers, dict) else set()

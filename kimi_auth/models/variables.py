"""Variables of the environment that the Kimi CLI prefers to what a login wrote, read in its version 1.52.

`KIMI_BASE_URL` and `KIMI_MODEL_*` replace the provider's URL and the model of config.toml. `KIMI_API_KEY` replaces its
static key: a login's token is asked for first, so it serves where there is none. Values are never shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from kimi_auth.platforms import Platform
from kimi_auth.support.language import tr
from kimi_auth.support.urls import normal_url

__all__ = ["BASE_URL", "overriding"]

API_KEY, BASE_URL = "KIMI_API_KEY", "KIMI_BASE_URL"
MODEL: dict[str, str] = {
    "KIMI_MODEL_NAME": "name",
    "KIMI_MODEL_MAX_CONTEXT_SIZE": tr("context size"),
    "KIMI_MODEL_CAPABILITIES": tr("capabilities"),
}


def overriding(platform: Platform, environ: Mapping[str, str]) -> dict[str, str]:
    """What the Kimi CLI makes of each variable that is set beside this login: a sentence for each variable's name."""
    said: dict[str, str] = {}
    if environ.get(API_KEY):
        wins = tr("is set and takes precedence in the Kimi CLI wherever this login has no token")
        said[API_KEY] = wins if platform.oauth else tr("is set and takes precedence in the Kimi CLI over this key")
    if (base := environ.get(BASE_URL)) and not _is_same(base, platform.api_base):
        said[BASE_URL] = tr("is set and takes precedence in the Kimi CLI: this login's token goes there")
    for name, what in MODEL.items():
        if environ.get(name):
            said[name] = tr("is set and takes precedence in the Kimi CLI over the model's {what}", what=what)
    return said


def _is_same(base: str, api_base: str) -> bool:
    try:
        return normal_url(base.strip()) == api_base
    except ValueError:
        return False

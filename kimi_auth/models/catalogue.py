"""What a platform offers: the server's list of models, checked, and what its models can do. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kimi_auth.errors import KimiAuthError
from kimi_auth.platforms.spec import CAPABILITIES, Capability, Platform
from kimi_auth.text import clean

__all__ = ["Discovered", "ModelEntry", "capabilities", "offered", "parse_catalogue"]

MODELS_MAX = 500
CONTEXT_LENGTH_MAX = 100_000_000
_TEXT_MAX = 200


def _clean_id(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


def _clean_line(value: object) -> object:
    """Text for a terminal, None where nothing is left."""
    return clean(value, _TEXT_MAX) or None if isinstance(value, str) else value


def _tokens(value: object) -> object:
    """A whole number of tokens from a number or its decimal digits; None where the server does not say."""
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) <= len(str(CONTEXT_LENGTH_MAX)) * 2
    ):
        value = int(value)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return min(value, CONTEXT_LENGTH_MAX) if value > 0 else None
    return value


Flag = Annotated[bool, BeforeValidator(lambda value: False if value is None else value)]


class ModelEntry(BaseModel):
    """One item of `data` in the answer to `GET {base}/models`; what else the item holds is ignored.

    `context_length` is in tokens, None where the server does not say; flags that are missing or null are False.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: Annotated[str, Field(min_length=1, max_length=_TEXT_MAX), AfterValidator(_clean_id)]
    context_length: Annotated[int | None, BeforeValidator(_tokens)] = None
    supports_reasoning: Flag = False
    supports_image_in: Flag = False
    supports_video_in: Flag = False
    display_name: Annotated[str | None, BeforeValidator(_clean_line)] = None


def parse_catalogue(answer: object) -> tuple[tuple[ModelEntry, ...], tuple[str, ...]]:
    """The models of a decoded answer in the server's order, and a note for each item that was left out.

    Never raises: an answer of another form has no models, and a note says so.
    """
    items = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(items, list):
        return (), ("the answer has no list `data`",)
    models: dict[str, ModelEntry] = {}
    notes: list[str] = []
    for number, item in enumerate(items[:MODELS_MAX], start=1):
        try:
            model = ModelEntry.model_validate(item)
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            notes.append(f"model {number} left out: {'.'.join(map(str, first['loc'])) or 'item'}: {first['msg']}")
            continue
        if model.id in models:
            notes.append(f"model {number} left out: {model.id} is listed twice")
        models.setdefault(model.id, model)
    if len(items) > MODELS_MAX:
        notes.append(f"{len(items) - MODELS_MAX} models left out: more than {MODELS_MAX} are listed")
    return tuple(models.values()), tuple(notes)


def offered(platform: Platform, models: tuple[ModelEntry, ...]) -> tuple[ModelEntry, ...]:
    """The models that this platform's filter lets through, in the server's order."""
    return tuple(
        model for model in models if not platform.model_prefixes or model.id.startswith(platform.model_prefixes)
    )


Discovered = tuple[tuple[ModelEntry, ...], KimiAuthError | None]
"""The models that a platform offers; if they are not known, none and the reason."""


def capabilities(platform: Platform, model: ModelEntry) -> tuple[Capability, ...]:
    """What the platform's rules say that the model can do, in the order of `CAPABILITIES`."""
    name = model.id.lower()
    given = {
        capability
        for rule in platform.capability_rules
        if (rule.flag is not None and getattr(model, rule.flag))
        or (rule.id_prefix is not None and name.startswith(rule.id_prefix.lower()))
        or (rule.id_contains is not None and rule.id_contains.lower() in name)
        for capability in rule.gives
    }
    return tuple(capability for capability in CAPABILITIES if capability in given)

"""What a platform offers: the server's list of models, checked, and what its models can do. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kimi_auth.errors import KimiAuthError
from kimi_auth.platforms.spec import CAPABILITIES, Capability, Platform
from kimi_auth.support.language import tr
from kimi_auth.support.text import clean

__all__ = ["Catalogue", "ModelEntry", "capabilities", "offered", "parse_catalogue"]

MODELS_MAX = 500
CONTEXT_LENGTH_MAX = 100_000_000
_TEXT_MAX = 200


def _clean_id(text: str) -> str:
    if not text.isprintable():
        raise ValueError(tr("has characters that cannot be printed"))
    return text


def _clean_line(value: object) -> object:
    """Text for a terminal, None where nothing is left."""
    return clean(value, _TEXT_MAX) or None if isinstance(value, str) else value


def _tokens(value: object) -> object:
    """A model's whole number of tokens, from a number or its decimal digits; None where the server does not say."""
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

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: Annotated[str, Field(min_length=1, max_length=_TEXT_MAX), AfterValidator(_clean_id)]
    context_length: Annotated[int | None, BeforeValidator(_tokens)] = None
    supports_reasoning: Flag = False
    supports_image_in: Flag = False
    supports_video_in: Flag = False
    display_name: Annotated[str | None, BeforeValidator(_clean_line)] = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a platform offers: the models, in the server's order; a sentence for each kind of thing in its answer that was
    left out; or else why nothing is known."""

    models: tuple[ModelEntry, ...] = ()
    notes: tuple[str, ...] = ()
    error: KimiAuthError | None = None


def parse_catalogue(answer: object, prefixes: tuple[str, ...] = ()) -> tuple[tuple[ModelEntry, ...], tuple[str, ...]]:
    """The models of a decoded answer in the server's order, and a note for each kind of thing that was left out.

    With `prefixes`, only models whose id begins with one of them count: the others are not the platform's, and are no note.
    A field with a value that it cannot have counts as missing: the model stays. Never raises: an answer of another form has
    no models, and a note says so.
    """
    items = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(items, list):
        return (), (tr("the answer has no list `data`"),)
    models: dict[str, ModelEntry] = {}
    left_out: dict[tuple[str, str], list[str]] = {}
    for number, item in enumerate(items, start=1):
        model, problems = _parsed(item, prefixes)
        if model is not None and model.id in models:
            problems = [("", tr("listed twice, the first one counts"))]
        elif model is not None and len(models) == MODELS_MAX:
            problems = [("", tr("more than {number} are listed", number=MODELS_MAX))]
        elif model is not None:
            models[model.id] = model
        for problem in problems:
            left_out.setdefault(problem, []).append(model.id if model else tr("model {number}", number=number))
    notes = (_note(field, problem, places) for (field, problem), places in left_out.items())
    return tuple(models.values()), tuple(notes)


def _parsed(item: object, prefixes: tuple[str, ...]) -> tuple[ModelEntry | None, list[tuple[str, str]]]:
    """One model, None if it is none or another platform's; and its faults: the field, "" for all, and the reason."""
    name = item.get("id") if isinstance(item, Mapping) else None
    if prefixes and isinstance(name, str) and not name.startswith(prefixes):
        return None, []
    try:
        return ModelEntry.model_validate(item), []
    except ValidationError as exc:
        wrong = {str(error["loc"][0]) if error["loc"] else "item": error["msg"] for error in exc.errors()}
    if "id" in wrong or not isinstance(item, Mapping):
        field = "id" if "id" in wrong else "item"
        return None, [("", f"{field}: {wrong[field]}")]
    return ModelEntry.model_validate({key: item[key] for key in item if key not in wrong}), [*wrong.items()]


def _note(field: str, problem: str, places: list[str]) -> str:
    left_out = tr("{field} of {model}{more} left out: {problem}") if field else tr("{model}{more} left out: {problem}")
    more = tr(" and of {number} more") if field else tr(" and {number} more")
    others = more.format(number=len(places) - 1) if places[1:] else ""
    return left_out.format(field=field, model=places[0], more=others, problem=problem)


def offered(platform: Platform, models: tuple[ModelEntry, ...]) -> tuple[ModelEntry, ...]:
    """What the platform offers: the models of its server's list that its filter lets through, in the list's order."""
    return tuple(
        model for model in models if not platform.model_prefixes or model.id.startswith(platform.model_prefixes)
    )


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

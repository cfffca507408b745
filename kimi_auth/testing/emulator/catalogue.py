"""The models that the emulated API offers, in the shape of its `/models` answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final


@dataclass(frozen=True)
class Model:
    """One entry of `/models`; context_length in tokens."""

    id: str
    display_name: str
    context_length: int = 262_144
    supports_reasoning: bool = False
    supports_image_in: bool = False
    supports_video_in: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"object": "model", "created": 1_700_000_000, "owned_by": "emulator", **asdict(self)}

    @classmethod
    def from_json(cls, value: object) -> Model:
        """A model for the emulated API to offer, from parsed JSON; raises ValueError. `display_name` falls back to the id."""
        if not isinstance(value, Mapping) or not isinstance(value.get("id"), str):
            raise ValueError("models: each one is an object with a string id")
        kinds = {f.name: type(f.default) if isinstance(f.default, int) else str for f in fields(cls)}
        for name, given in value.items():
            if name not in kinds or type(given) is not kinds[name]:
                raise ValueError(f"models: {name!r} is unknown or of the wrong type")
        return cls(**{"display_name": value["id"], **value})


DEFAULT_MODELS: Final = (
    Model("kimi-for-coding", "Kimi for Coding", 262_144, True, True, True),
    Model("kimi-k2-thinking-turbo", "Kimi K2 Thinking Turbo", 262_144, True),
    Model("kimi-latest", "Kimi Latest", 131_072, supports_image_in=True),
)

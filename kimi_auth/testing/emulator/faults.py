"""Scripted answers: the failures that a test orders from the emulator, once or many times.

A fault is data. It names an endpoint, the treatment of the request (processed or not) and of the answer (replaced,
delayed, cut off). `State` keeps the list; the HTTP shell applies the fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, get_args

Endpoint = Literal[
    "metadata", "device", "token", "revoke", "models", "chat", "messages", "mcp", "search", "fetch", "usages", "me"
]
GrantName = Literal["device_code", "refresh_token"]
Drop = Literal["before", "after", "during"]

LATENCY_S_MAX: Final = 3600.0
_BODILESS: Final = {204, 304}
_OURS: Final = {"content-length", "transfer-encoding", "connection"}
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?|")


@dataclass(frozen=True)
class Fault:
    """One scripted answer.

    endpoint: which endpoint it applies to; grant: at "token", only this grant (None: any).
    status, headers, body: the answer instead of the real one (body: text, or an object sent as JSON);
        without a status the client gets the real answer, for a fault of latency or `drop` alone.
    times: how many requests it applies to (None: until the faults are cleared).
    processed: is the request processed before the answer? Default: no if a status replaces the answer or the
        connection drops "before", yes otherwise.
    latency_s: seconds between the processing, which happens on arrival, and the answer. A client that disconnects
        meanwhile changes nothing.
    drop: "before" closes the connection without processing; "after" processes and closes without a byte of answer;
        "during" processes, sends the whole answer under a Content-Length one byte longer, and closes.
    Raises ValueError, with the field's name, for a script that cannot be applied.
    """

    endpoint: Endpoint
    grant: GrantName | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | Mapping[str, Any] | list[Any] | None = None
    times: int | None = 1
    processed: bool | None = None
    latency_s: float = 0.0
    drop: Drop | None = None

    def __post_init__(self) -> None:
        checks: tuple[tuple[bool, str], ...] = (
            (self.endpoint in get_args(Endpoint), f"endpoint is one of {', '.join(get_args(Endpoint))}"),
            (self.grant is None or self.grant in get_args(GrantName), "grant is device_code, refresh_token or null"),
            (self.grant is None or self.endpoint == "token", "grant belongs to the endpoint token only"),
            (self.status is None or _is_int(self.status, 200, 599), "status is a whole number from 200 to 599"),
            (_are_headers(self.headers), "headers maps header names to printable ASCII text, framing headers excluded"),
            (self.body is None or isinstance(self.body, str | Mapping | list), "body is text, an object or a list"),
            (self.body is None or self.status not in _BODILESS, f"status {self.status} has no body"),
            (self.status is None or self.drop in (None, "during"), f"drop {self.drop} answers nothing: no status"),
            (self._replaces or (self.body is None and not self.headers), "headers and body need a status"),
            (self.times is None or _is_int(self.times, 1, 1_000_000), "times is a whole number from 1, or null"),
            (self.processed is None or isinstance(self.processed, bool), "processed is true, false or null"),
            (_is_latency(self.latency_s), f"latency_s is a number of seconds from 0 to {LATENCY_S_MAX:.0f}"),
            (self.drop is None or self.drop in get_args(Drop), "drop is before, after, during or null"),
            (not (self.drop == "before" and self.processed), "drop before means that the request is not processed"),
            (not (self.drop in ("after", "during") and self.processed is False), "drop after means processed"),
            (
                self.processed is not False or self.status is not None or self.drop == "before",
                "a request that is not processed needs a status, or drop before",
            ),
        )
        for holds, rule in checks:
            if not holds:
                raise ValueError(f"fault: {rule}")

    @property
    def processes(self) -> bool:
        """True if the request of this fault is processed. Resolves the default of `processed`."""
        if self.processed is not None:
            return self.processed
        return self.drop in ("after", "during") or (self.drop is None and self.status is None)

    @property
    def _replaces(self) -> bool:
        return self.status is not None or self.drop == "during"

    @property
    def content(self) -> bytes | None:
        """The body of the scripted answer in bytes; None if there is none."""
        if self.body is None:
            return None
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode(errors="replace")

    @property
    def media_type(self) -> str:
        """JSON for an object or text that looks like one, HTML otherwise, unless `headers` sets another type."""
        told = {name.lower(): value for name, value in self.headers.items()}.get("content-type")
        looks_json = not isinstance(self.body, str) or self.body.lstrip()[:1] in ("{", "[")
        return told or ("application/json" if looks_json else "text/html; charset=utf-8")

    def meets(self, endpoint: str, grant: str | None) -> bool:
        return self.endpoint == endpoint and self.grant in (None, grant)

    def describe(self) -> str:
        """A fault as a short text for the request log: `status 503, not processed`."""
        parts = (
            self.status is not None and f"status {self.status}",
            self.drop and f"drop {self.drop}",
            self.latency_s > 0 and f"latency {self.latency_s:g} s",
            not self.processes and "not processed",
        )
        return ", ".join(part for part in parts if part)

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """A fault from parsed JSON. Raises ValueError with one sentence about the first error."""
        if not isinstance(value, Mapping):
            raise ValueError("fault: each one is a JSON object")
        unknown = sorted(set(map(str, value)) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"fault: unknown key {unknown[0]!r}")
        if "endpoint" not in value:
            raise ValueError("fault: endpoint is missing")
        return cls(**value)


def _is_int(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_latency(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATENCY_S_MAX


def _are_headers(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str)
        and isinstance(text, str)
        and _HEADER_NAME.fullmatch(name)
        and _HEADER_VALUE.fullmatch(text)
        and name.lower() not in _OURS
        for name, text in value.items()
    )

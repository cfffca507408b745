"""Who is signed in, and the remaining quota: the platform's answers, checked, bounded and cleaned. Pure.

Names of members differ between versions of the API: the first one that is there counts. Unreadable members are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kimi_auth.support.language import tr
from kimi_auth.support.text import clean

__all__ = ["Account", "Limit", "Usage", "account_of", "usage_of"]

TEXT_MAX = 100
LIMITS_MAX = 20
NUMBER_MAX = 1e15
TIME_MAX_S = 1e11
"""A later time is in milliseconds."""

_UNITS_S = {"SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3600.0, "DAY": 86_400.0, "WEEK": 604_800.0}
_FRACTION = re.compile(r"(\.\d{6})\d+")
_KEYED_WINDOW = re.compile(r"limit_(\d{1,4})([smhd])")
_LETTERS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Account:
    """Who is signed in, as the platform says; "" for what it does not say."""

    id: str = ""
    nickname: str = ""
    region: str = ""
    level: str = ""
    email: str = ""
    phone: str = ""

    @property
    def name(self) -> str:
        """How to call the account in a sentence: never mail address or telephone number."""
        return self.nickname or self.id


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the plan. `window_s`: the length of its window in seconds, `resets_at_s`: unix seconds; None for what the
    platform does not say. `left_share`: the part that is left, 0.0 to 1.0."""

    name: str
    window_s: float | None = None
    limit: float | None = None
    used: float | None = None
    remaining: float | None = None
    left_share: float | None = None
    resets_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The remaining quota: `level`, its name; `parallel`, requests at the same time; and its limits."""

    level: str = ""
    parallel: int | None = None
    limits: tuple[Limit, ...] = ()


def account_of(data: Mapping[str, Any]) -> Account | None:
    """The account in the answer of `/me`, checked and cleaned; None if it names neither a person nor an id."""
    account = Account(
        id=_text(data, "user_id", "userId", "id"),
        nickname=_text(data, "nickname", "name"),
        region=_text(data, "region"),
        level=_text(data, "user_level_name", "level") or _text(_table(_table(data, "user"), "membership"), "level"),
        email=_text(data, "email", "mail"),
        phone=_text(data, "phone", "phone_number", "mobile"),
    )
    return account if account.name else None


def usage_of(data: Mapping[str, Any]) -> Usage | None:
    """The limits in the answer of `/usages`, checked and cleaned; None if there are none."""
    limits = tuple(_limits(data))[:LIMITS_MAX]
    if not limits:
        return None
    parallel = _number(_table(data, "parallel"), "limit")
    level = _text(_table(_table(data, "user"), "membership"), "level")
    return Usage(level, None if parallel is None else int(parallel), limits)


def _limits(data: Mapping[str, Any]) -> Iterator[Limit]:
    yield from _limit(tr("plan"), _table(data, "usage"), None)
    windows = data.get("limits")
    for each in windows[:LIMITS_MAX] if isinstance(windows, list) else []:
        entry = each if isinstance(each, dict) else {}
        window_s = _window_s(_table(entry, "window"))
        yield from _limit(_called(window_s), _table(entry, "detail") or entry, window_s)
    yield from _limit(tr("total"), _table(data, "totalQuota"), None)
    for key, value in list(_table(data, "usages").items())[:LIMITS_MAX]:
        found = _KEYED_WINDOW.fullmatch(key)
        if found and isinstance(value, dict):
            window_s = float(found[1]) * _LETTERS_S[found[2]]
            yield from _limit(_called(window_s), value, window_s)


def _limit(name: str, detail: Mapping[str, Any], window_s: float | None) -> Iterator[Limit]:
    limit, used, remaining = (_number(detail, key) for key in ("limit", "used", "remaining"))
    ratio = _number(detail, "used_ratio", "usedRatio")
    if limit is not None and remaining is None and used is not None:
        remaining = max(0.0, limit - used)
    if limit is not None and used is None and remaining is not None:
        used = max(0.0, limit - remaining)
    share = None if ratio is None else 1 - ratio
    if limit and remaining is not None:
        share = remaining / limit
    if limit is None and share is None:
        return
    left = None if share is None else min(1.0, max(0.0, share))
    resets_at_s = _time_s(detail, "resetTime", "reset_time", "resetAt", "reset_at")
    yield Limit(name, window_s, limit, used, remaining, left, resets_at_s)


def _called(window_s: float | None) -> str:
    """What a limit in the platform's answer about the quota is called: "5 h", "7 d" ..., "window" for one of unknown
    length."""
    if not window_s:
        return tr("window")
    for unit_s, lasts in ((86_400, tr("{number} d")), (3600, tr("{number} h")), (60, tr("{number} min"))):
        if window_s % unit_s == 0:
            return lasts.format(number=round(window_s / unit_s))
    return tr("{seconds} s", seconds=round(window_s))


def _window_s(window: Mapping[str, Any]) -> float | None:
    duration = _number(window, "duration")
    unit = _text(window, "timeUnit", "time_unit").upper().removeprefix("TIME_UNIT_")
    return duration * _UNITS_S[unit] if duration and unit in _UNITS_S else None


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _text(data: Mapping[str, Any], *keys: str) -> str:
    """The first text or number in an answer about the account, on one line, without invisible characters, at most 100 long."""
    for key in keys:
        value = data.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < NUMBER_MAX**2:
            value = str(value)
        # A lone surrogate is bytes that were no text.
        if isinstance(value, str) and (text := clean(value.encode(errors="ignore").decode(), TEXT_MAX)):
            return text
    return ""


def _number(data: Mapping[str, Any], *keys: str) -> float | None:
    """The first finite number in an answer about the quota, not negative; a text counts as what it says."""
    for key in keys:
        value = data.get(key)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | str)
            or (isinstance(value, str) and len(value) > 30)
        ):
            continue
        try:
            number = float(value)
        except (ValueError, OverflowError):
            continue
        if math.isfinite(number) and 0 <= number <= NUMBER_MAX:
            return number
    return None


def _time_s(data: Mapping[str, Any], *keys: str) -> float | None:
    """The first time in an answer about the quota, in unix seconds: ISO 8601, or a number of seconds or milliseconds."""
    for key in keys:
        value = data.get(key)
        if isinstance(value, str) and 10 <= len(value) <= 40:
            try:
                moment = datetime.fromisoformat(_FRACTION.sub(r"\1", value))
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            except (ValueError, OverflowError):
                pass
        number = _number(data, key)
        if number:
            return number if number <= TIME_MAX_S else number / 1000
    return None

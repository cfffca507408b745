"""Homes: the directories in which Kimi programs keep their logins. A home is data and a few functions (`kinds`)."""

from __future__ import annotations

from .accounts import Accounts, checked_label
from .choice import FOUND, Home, choose, holds_login, other_login
from .kinds import KIMI_CLI, KIMI_CODE, KINDS, Kind, slot
from .region import Addresses, Login, login_of

__all__ = [
    "FOUND",
    "KIMI_CLI",
    "KIMI_CODE",
    "KINDS",
    "Accounts",
    "Addresses",
    "Home",
    "Kind",
    "Login",
    "checked_label",
    "choose",
    "holds_login",
    "login_of",
    "other_login",
    "slot",
]

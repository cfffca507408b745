"""--verbose: how the machines move, on standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kimi_auth.store import FileStore


def test_a_walk_is_told_only_to_who_asks(kimi: Callable[..., Any], store: FileStore) -> None:
    """login and token --verbose say each transition, standard output stays as it is, and no token is in it."""
    said = kimi("login", "--verbose")
    assert "kimi-auth: device_login: checking_store --ready--> requesting_code (step 1, " in said.err
    assert "--> signed_in (step " in said.err
    token = store.read().token
    assert token is not None
    assert token.access_token not in said.out + said.err
    assert token.refresh_token not in said.out + said.err
    renewed = kimi("token", "--refresh", "--verbose")
    assert "kimi-auth: token_lifecycle: " in renewed.err
    assert "kimi-auth: token_refresh: " in renewed.err
    assert renewed.out.count("\n") == 1
    assert kimi("token", "--refresh").err == ""

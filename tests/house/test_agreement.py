"""Machines and hooks say the same, and what spends a token or writes a credential runs inside the credential's lock."""

from __future__ import annotations

import pytest

from kimi_auth.machine import Library, disagreements
from kimi_auth.review.hooks import HOOKS

UNDER_THE_LOCK = (
    "exchange",
    "stage",
    "commit",
    "claim",
    "renew_claim",
    "withdraw_claim",
    "record_revoked",
    "record_unrecognized",
    "empty_record",
    "discard_staged",
    "clear_sidecars",
    "store_credential",
)


def test_every_machine_has_hooks() -> None:
    """No machine is without a contract, no contract without a machine."""
    assert set(HOOKS) == set(Library.load())


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_machine_and_hooks_agree(name: str) -> None:
    """Activities are methods and outcomes are Literals, both ways."""
    assert disagreements(Library.load()[name], HOOKS[name].contract) == []


def test_lock_discipline() -> None:
    """Every activity that spends a token or writes a credential stands only where the credential's lock is held."""
    assert Library.load().lint_lock(dict.fromkeys(UNDER_THE_LOCK, "credential")) == []


def test_a_broken_discipline_is_seen() -> None:
    """Storing a grant without the lock is found, and so is a guard on an activity that no state runs."""
    data = Library.load().data()
    del data["device_login"]["states"]["persisting"]["holds"]
    found = Library.from_data(data).lint_lock({"store_credential": "credential", "store_nothing": "credential"})
    assert [line for line in found if "store_credential" in line and "persisting" in line]
    assert [line for line in found if "store_nothing" in line]

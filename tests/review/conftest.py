"""The machines of this package, and changed copies of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kimi_auth.machine import Library

OWN = Library.load()


@pytest.fixture
def own() -> Library:
    """The machines of this package."""
    return OWN


@pytest.fixture
def edited() -> Callable[..., Library]:
    """A function that changes the machines as data and loads the result: `edited(lambda data: ...)`."""

    def change(edit: Callable[[dict[str, Any]], object]) -> Library:
        data = OWN.data()
        edit(data)
        return Library.from_data(data)

    return change

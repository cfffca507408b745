"""What holds for every test: a home of its own, every edge counted, no frozen clock where waiting happens."""

from __future__ import annotations

import freezegun
import hypothesis
import pytest

pytest_plugins = (
    "pytester",
    "servers.fixtures",
    "house.isolation",
    "house.edge_gate",
    "house.ci",
    "house.no_secrets",
    "house.measured",
    "house.timeouts",
    "house.environments",
    "house.ids",
    "house.libraries",
)

# freezegun leaves these their real clock: pytest's durations, and the lock, which would wait for ever.
freezegun.configure(extend_ignore_list=["_pytest.timing", "filelock"])

# A deadline for an example, or a limit for making one, would measure the machine.
hypothesis.settings.register_profile(
    "house", hypothesis.settings.default, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("fuzz", hypothesis.settings.get_profile("house"), max_examples=5_000)
hypothesis.settings.load_profile("house")


LONG_S = 1800
"""A test that may take longer than this begins first: otherwise the run would wait for it at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(mark.args[0] > LONG_S for mark in item.iter_markers("timeout")))
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("fuzz")

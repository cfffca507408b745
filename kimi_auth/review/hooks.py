"""Whether every activity of the machines has its hook: in the contract, in the code that runs, and in `hooks.toml`.

mypy compares a hooks class with its contract, and a test compares contracts with machines. This says the same to an author who
has just edited a machine, in one list and with the file of each missing part. The model checker's hooks are looked at
by `kimi_auth.proof.verdicts.without_hook`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kimi_auth.credential.contracts import SignOutContract, TokenLifecycleContract, TokenRefreshContract
from kimi_auth.credential.token_lifecycle import CredentialHooks
from kimi_auth.login.contracts import DeviceLoginContract
from kimi_auth.login.device_login import DeviceLoginHooks
from kimi_auth.machine import Library, disagreements
from kimi_auth.serving.contracts import GrantContract
from kimi_auth.serving.grant_life import GrantHooks

from .page_data import read_page_data

__all__ = ["HOOKS", "Hooks", "missing"]


class Hooks(NamedTuple):
    """A machine's `contract`, a Protocol, and the class whose methods run in its states."""

    contract: type
    implementation: type


HOOKS: Mapping[str, Hooks] = {
    "device_login": Hooks(DeviceLoginContract, DeviceLoginHooks),
    "grant": Hooks(GrantContract, GrantHooks),
    "sign_out": Hooks(SignOutContract, CredentialHooks),
    "token_lifecycle": Hooks(TokenLifecycleContract, CredentialHooks),
    "token_refresh": Hooks(TokenRefreshContract, CredentialHooks),
}
"""The hooks of each machine. The three machines of a credential share one class, because one walk goes through all of them."""


def missing(machines: Library, folder: Path) -> list[str]:
    """What the activities of `machines` lack, one line each; `folder` holds `hooks.toml`, and may have none."""
    return [*_contracts(machines), *_implementations(machines), *_descriptions(machines, folder)]


def _contracts(machines: Library) -> Iterator[str]:
    for name, machine in machines.items():
        if name in HOOKS:
            yield from disagreements(machine, HOOKS[name].contract)
        else:
            yield f"{name}: no contract; write a Protocol and name it in HOOKS of {_file(Hooks)}"


def _implementations(machines: Library) -> Iterator[str]:
    for name, state, activity in _activities(machines):
        if name in HOOKS and not callable(getattr(HOOKS[name].implementation, activity, None)):
            hooks = HOOKS[name].implementation
            yield f"{name}: {state} runs {activity}, which {hooks.__name__} does not have; add the method to {_file(hooks)}"


def _descriptions(machines: Library, folder: Path) -> Iterator[str]:
    described = read_page_data(folder).hooks
    if not described:
        return
    for name, state, activity in _activities(machines):
        if activity not in described.get(name, {}):
            yield f"{name}: {state} runs {activity}, which {folder / 'hooks.toml'} does not describe; add [{name}.{activity}]"


def _activities(machines: Library) -> Iterator[tuple[str, str, str]]:
    """Every activity that must have a hook, once: machine, first state, activity."""
    for name, machine in machines.items():
        seen: set[str] = set()
        for state, spec in machine.states.items():
            if spec.activity and spec.activity not in seen:
                seen.add(spec.activity)
                yield name, state, spec.activity


def _file(kind: type) -> str:
    return kind.__module__.replace(".", "/") + ".py"

"""The hooks that device_login names, one method for each activity; `contracts` says how a hook is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from kimi_auth.credential.contracts import InjectOutcome
from kimi_auth.errors import KimiAuthError
from kimi_auth.models import ModelEntry
from kimi_auth.token import Token
from kimi_auth.wire import DeviceCode
from kimi_auth.wire.outcomes import CodeOutcome, PollOutcome

__all__ = ["DeviceLoginContract", "LoginContext"]


@dataclass(frozen=True, slots=True)
class LoginContext:
    """What a walk of device_login knows.

    `force`: sign in even if a login stands. `code`: the codes that are shown; `codes` were asked for so far, the last one
    at `code_at_s`, dead at `deadline_s` (both on the clock that counts suspension, seconds). `interval_s`: the server's interval,
    growing with each slow_down and bounded by the life of the code that is shown. `failures`: unanswered requests in a
    row; `wait_s`: the wait before the next poll. `token`: the new pair. `catalogue`: the models that were found.
    `trouble`: why it did not end in signed_in; `already`: a login that works was left alone.
    """

    force: bool = False
    code: DeviceCode | None = None
    codes: int = 0
    code_at_s: float = 0.0
    deadline_s: float = 0.0
    interval_s: float = 0.0
    failures: int = 0
    wait_s: float = 0.0
    token: Token | None = None
    catalogue: tuple[ModelEntry, ...] = ()
    already: bool = False
    trouble: KimiAuthError | None = None


CheckStoreOutcome = Literal["ready", "already_signed_in", "unfinished", "blocked"]
PauseBeforeCodeOutcome = Literal["again", "gave_up", "cancelled"]
ShowCodeOutcome = Literal["shown"]
WaitOutcome = Literal["elapsed", "lapsed", "cancelled"]
RenewCodeOutcome = Literal["renewed", "exhausted", "cancelled"]
StoreCredentialOutcome = Literal["stored", "unwritable"]
ReturnGrantOutcome = Literal["returned"]
SyncModelsOutcome = Literal["synced", "unavailable"]
WriteConfigOutcome = Literal["configured", "unwritable"]


class DeviceLoginContract(Protocol):
    """device_login: coroutines."""

    async def check_store(self, ctx: LoginContext, /) -> tuple[CheckStoreOutcome, LoginContext]: ...
    async def request_code(self, ctx: LoginContext, /) -> tuple[CodeOutcome, LoginContext]: ...
    async def pause_before_code(self, ctx: LoginContext, /) -> tuple[PauseBeforeCodeOutcome, LoginContext]: ...
    async def show_code(self, ctx: LoginContext, /) -> tuple[ShowCodeOutcome, LoginContext]: ...
    async def wait(self, ctx: LoginContext, /) -> tuple[WaitOutcome, LoginContext]: ...
    async def poll_token(self, ctx: LoginContext, /) -> tuple[PollOutcome, LoginContext]: ...
    async def renew_code(self, ctx: LoginContext, /) -> tuple[RenewCodeOutcome, LoginContext]: ...
    async def store_credential(self, ctx: LoginContext, /) -> tuple[StoreCredentialOutcome, LoginContext]: ...
    async def return_grant(self, ctx: LoginContext, /) -> tuple[ReturnGrantOutcome, LoginContext]: ...
    async def sync_models(self, ctx: LoginContext, /) -> tuple[SyncModelsOutcome, LoginContext]: ...
    async def write_config(self, ctx: LoginContext, /) -> tuple[WriteConfigOutcome, LoginContext]: ...
    async def inject(self, ctx: LoginContext, /) -> tuple[InjectOutcome, LoginContext]: ...

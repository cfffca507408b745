"""The hooks that device_login names, one method for each activity, and their context. `credential.contracts` says how one is written."""

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
    row; `rejections`: polls in a row that got a client error without an OAuth error; `wait_s`: the wait before the next
    poll. `token`: the new pair. `catalogue`: the models that were found;
    `notes`: the parts of the server's list that were left out. `error`: why it did not end in signed_in; `already`: a login
    that works was left alone.
    """

    force: bool = False
    code: DeviceCode | None = None
    codes: int = 0
    code_at_s: float = 0.0
    deadline_s: float = 0.0
    interval_s: float = 0.0
    failures: int = 0
    rejections: int = 0
    wait_s: float = 0.0
    token: Token | None = None
    catalogue: tuple[ModelEntry, ...] = ()
    notes: tuple[str, ...] = ()
    already: bool = False
    error: KimiAuthError | None = None

    @property
    def known_code(self) -> DeviceCode:
        """The device code in the context of device_login's hooks, in the states behind the one that asked for it."""
        assert self.code is not None
        return self.code

    @property
    def known_token(self) -> Token:
        """The token, in the states of device_login behind the one that brought it."""
        assert self.token is not None
        return self.token


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
    """The hooks of `machines/device_login.toml`: coroutines, called without the credential's lock."""

    async def check_store(self, ctx: LoginContext, /) -> tuple[CheckStoreOutcome, LoginContext]:
        """Reads the credential; tries that store and config.toml can be written. Leaves nothing behind; repeatable.

        `ready`: the login can be stored. `already_signed_in`: a login that works exists, and `force` is not set.
        `unfinished`: the same, but an earlier login did not write its models; `ctx.token` asks for them. `blocked`: no
        approval is requested for a login that could not be stored (`error`).
        """

    async def request_code(self, ctx: LoginContext, /) -> tuple[CodeOutcome, LoginContext]:
        """Sends one device authorization request (RFC 8628 §3.1). Touches the network only. Repeatable: the server
        issues another code, and the first one lapses.

        `code`: `ctx.code` is live until `deadline_s`. `unreachable`: no answer; `wait_s` is the pause before the next
        try. `refused`: the server does not accept this client (`error`).
        """

    async def pause_before_code(self, ctx: LoginContext, /) -> tuple[PauseBeforeCodeOutcome, LoginContext]:
        """Sleeps for `wait_s` and reports it to the view; repeatable.

        `again`: another request makes sense now. `gave_up`: five requests failed in a row, and `error` keeps the last
        reason. `cancelled`: the person left the view; nothing was stored.
        """

    async def show_code(self, ctx: LoginContext, /) -> tuple[ShowCodeOutcome, LoginContext]:
        """Shows the code in the view, and opens the verification page, without the code, in a browser if there is one.
        Repeatable: the same code is shown again.

        `shown`: always; whether the person saw it is unknown.
        """

    async def wait(self, ctx: LoginContext, /) -> tuple[WaitOutcome, LoginContext]:
        """Sleeps until the next poll is due, at most until the code lapses. Touches nothing; repeatable.

        `elapsed`: a poll is due, and the code is live. `lapsed`: the code is dead (`error`). `cancelled`: the person
        left the view; the code lapses by itself.
        """

    async def poll_token(self, ctx: LoginContext, /) -> tuple[PollOutcome, LoginContext]:
        """Sends one device token request (RFC 8628 §3.4). Touches the network only; a cancelled poll waits up to 2 s
        for its answer, and stores a grant that arrives, because the server issues it once. Repeatable after a crash,
        until a grant is lost with its process; then the code lapses.

        `granted`: `ctx.token` is the new pair, in memory only. `authorization_pending`, `slow_down`, `unreachable`:
        poll again after `wait_s`, with the same code. `expired_token`: the code is dead. `access_denied`: the person
        refused. `refused`: the server does not accept this client (`error`).
        """

    async def renew_code(self, ctx: LoginContext, /) -> tuple[RenewCodeOutcome, LoginContext]:
        """Reports the lapsed code to the view and waits until the server's interval has passed; repeatable.

        `renewed`: another code may be requested. `exhausted`: the limit of codes is reached (`error`). `cancelled`: the
        person left the view; nothing was stored.
        """

    async def store_credential(self, ctx: LoginContext, /) -> tuple[StoreCredentialOutcome, LoginContext]:
        """Takes the credential's lock, without a time limit, and replaces record, binding and backoff. Afterwards
        revokes the replaced pair where the platform allows it. Repeatable: it writes the same pair again; after a crash
        either the old record or the new one is stored, never a part. Cancelled before the lock is held, it revokes the
        new pair.

        `stored`: the new pair is the durable record. `unwritable`: the old record is unchanged (`error`).
        """

    async def return_grant(self, ctx: LoginContext, /) -> tuple[ReturnGrantOutcome, LoginContext]:
        """Revokes `ctx.token`, which could not be stored (RFC 7009). Touches the network only, for at most 5 s. Best
        effort; after a crash it is not repeated, because the pair was in memory only.

        `returned`: always; if the server did not answer, the tokens end by themselves.
        """

    async def sync_models(self, ctx: LoginContext, /) -> tuple[SyncModelsOutcome, LoginContext]:
        """Requests the platform's catalogue with the stored access token. Touches the network only; repeatable.

        `synced`: `ctx.catalogue` holds the models. `unavailable`: the login stays, and a later sync writes the
        models (`error`).
        """

    async def write_config(self, ctx: LoginContext, /) -> tuple[WriteConfigOutcome, LoginContext]:
        """Writes provider, models, default and services into config.toml, under the config's own lock, by rename.
        Repeatable: the plan is computed from the file, and a second run changes nothing.

        `configured`: config.toml names the platform. `unwritable`: config.toml is unchanged, and the login stays
        (`error`).
        """

    async def inject(self, ctx: LoginContext, /) -> tuple[InjectOutcome, LoginContext]:
        """Gives the access token to the running clients of this process. Touches memory only; repeatable.

        `injected`: every attached client was given the token; a client that failed is logged.
        """

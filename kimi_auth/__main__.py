"""`kimi-auth`, and the fast lane of `kimi-auth token` (and of `--version`).

A credential helper runs before every request of another program, so the common case (a stored token with time to spare) reads
a few small files and imports nothing that Python has not loaded by itself (`--json` loads json). It either prints that token
or has no opinion: then the full program decides, and says why. A renewal that is due is left to a process of its own, started
once the token is printed. The options are declared in `kimi_auth.cli.declared`; here are the spellings that leave no doubt.
"""

from __future__ import annotations

import os
import sys
import time

from kimi_auth.quick_files import (
    FallThrough,
    account_in_use,
    binding_at,
    config_in,
    decode,
    look_at,
    must_be_missing,
    names_our_platform,
    record_at,
    retry_at_s_in,
)
from kimi_auth.selection import (
    ACCOUNT_VARIABLES,
    API_BASE_VARIABLES,
    COMPLETION,
    DEFAULT_PLATFORM,
    LOGIN,
    OAUTH_HOST_VARIABLES,
    SHARE_DIR_DEFAULT,
    SHARE_DIR_VARIABLES,
    STORE,
    UNLABELLED,
    account_meant,
    is_label,
    key_before_login,
    lent_token,
    login_name,
    scheme_of,
    select,
    unknown_variables,
)
from kimi_auth.token import (
    Token,
    at_leisure,
    described,
    fingerprint,
    is_ahead,
    is_due,
    is_seconds,
    key_fingerprint,
    left_s,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLATFORM = DEFAULT_PLATFORM
FORMATS = ("plain", "claude", "json")
"""Those of `--format` that are answered here; the others depend on what their programs say."""
OAUTH_HOST = "https://auth.kimi.com"


def main(argv: Sequence[str] | None = None) -> int:
    """The console command: runs `argv` (default: the command line) and returns its exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        if args[:1] in (["token"], ["--version"]) and COMPLETION not in os.environ:
            try:
                line, needs_renewal = answer(args, os.environ, time.time())
            except FallThrough:
                pass
            else:
                status = _hand_out(line)
                if status == 0 and args != ["--version"]:
                    _say_account(os.environ, _options(args[1:]).get("--account"))
                if needs_renewal:
                    _renew_beside(os.environ, _options(args[1:]).get("--account"))
                return status
        from kimi_auth.cli import main as full_program

        return full_program(argv)
    except KeyboardInterrupt:
        return 130


def answer(args: Sequence[str], environ: Mapping[str, str], now_s: float) -> tuple[str, bool]:
    """The line that the full program would print for this command line, and whether it would start a renewal; raises
    FallThrough where either is not certain."""
    if args == ["--version"]:
        from kimi_auth._version import __version__

        return f"kimi-auth {__version__}", False
    options = _options(args[1:])
    account = options.get("--account")
    is_named = "--platform" in options
    if account is None and (url := environ.get(STORE, "").strip()) and scheme_of(url) == "unix":
        token = _served_token(url, environ, now_s, options.get("--min-ttl", "0"), is_named=is_named)
        return _line(token, options, now_s), False
    token = stored_token(environ, now_s, is_named=is_named, account=account)
    if left_s(token, now_s) < float(options.get("--min-ttl", 0)):
        raise FallThrough
    needs_renewal = is_due(token, now_s) and _can_be_renewed(token, environ, now_s, account)
    return _line(token, options, now_s), needs_renewal


def _line(token: Token, options: Mapping[str, str], now_s: float) -> str:
    if "--json" not in options:
        return token.access_token
    from json import dumps

    return dumps(described(token, PLATFORM, now_s))


def _options(words: Sequence[str]) -> dict[str, str]:
    """The options of `token` in the fast lane, by name, each given once at most; raises FallThrough for an option that
    is unknown here."""
    options: dict[str, str] = {}
    rest = iter(words)
    for name in rest:
        value = "" if name == "--json" else next(rest, "")
        is_known = (
            name == "--json"
            or (name == "--platform" and value == PLATFORM)
            or (name == "--account" and is_label(value))
            or (name == "--format" and value in FORMATS)
            or (name == "--min-ttl" and is_seconds(value))
        )
        if not is_known or name in options:
            raise FallThrough
        options[name] = value
    if options.pop("--format", "") == "json":
        options["--json"] = ""
    return options


def stored_token(
    environ: Mapping[str, str], now_s: float, *, is_named: bool = False, account: str | None = None
) -> Token:
    """The pair that the fast lane hands out as the full program would, without a request; raises FallThrough otherwise.

    `now_s` is unix seconds; `is_named`: the platform was named, so that config.toml does not matter; `account`: the
    label of the account that was named.
    """
    if unknown_variables(environ):
        raise FallThrough
    folder = _share_dir(environ)
    login = login_name(PLATFORM, _account(environ, account))
    look_at(folder)
    _login_must_be_meant(environ, login, is_named=is_named)
    beside = f"{folder}/credentials/{login}"
    token = record_at(f"{beside}.json")
    if (
        not token.access_token
        or not (at_leisure(token, now_s) or is_due(token, now_s))
        or not _is_from(token.issuer, binding_at(f"{beside}.issuer"), environ)
        or not _has_usual_api(environ)
    ):
        raise FallThrough
    must_be_missing(f"{beside}.{fingerprint(token)}.revoked")
    return token


def _account(environ: Mapping[str, str], named: str | None) -> str:
    """The label of the account that is meant; raises FallThrough for one that is not certain."""
    label, _ = account_meant(environ, lambda: account_in_use(_share_dir(environ), PLATFORM), argument=named)
    if not is_label(label):
        raise FallThrough
    return label


def _served_token(url: str, environ: Mapping[str, str], now_s: float, min_ttl: str, *, is_named: bool) -> Token:
    """The token of `kimi-auth serve`, which renews it where it has to; raises FallThrough where the full program has to say
    why there is none."""
    from kimi_auth.store.served import ask, parsed, token_in

    if set(unknown_variables(environ)) != {STORE} or select(environ, variables=ACCOUNT_VARIABLES)[0]:
        raise FallThrough
    _login_must_be_meant(environ, PLATFORM, is_named=is_named)
    try:
        status, answer = ask(parsed(url), f"/v1/token?min_ttl={min_ttl}")
        told = decode(answer)
        if status != 200 or not isinstance(told, dict) or told.get("platform") != PLATFORM:
            raise FallThrough
        token = token_in(told, now_s)
    except (OSError, ValueError):
        raise FallThrough from None
    if left_s(token, now_s) < float(min_ttl):
        raise FallThrough
    return token


def _login_must_be_meant(environ: Mapping[str, str], login: str, *, is_named: bool) -> None:
    """Leaves the fast lane of `kimi-auth token` where a key of the user's comes before the `login`; and, unless the
    platform was named, where `kimi-auth run` lent another login's token or config.toml may name another platform."""
    if key_before_login(environ, key_fingerprint)[1] != LOGIN:
        raise FallThrough
    if is_named:
        return
    lent = lent_token(environ, key_fingerprint)
    if (lent is not None and lent[1] != login) or not names_our_platform(config_in(_share_dir(environ))):
        raise FallThrough


def _can_be_renewed(token: Token, environ: Mapping[str, str], now_s: float, account: str | None) -> bool:
    """Whether the full program, behind the fast lane of `token`, would start a renewal of this pair, which is due: no backoff forbids
    it, and none is under way. Raises FallThrough for a pair without a refresh token, and for a claim whose owner holds no lock on this host."""
    from kimi_auth.store.holders import holder_pids

    beside = f"{_share_dir(environ)}/credentials/{login_name(PLATFORM, _account(environ, account))}"
    if not token.refresh_token:
        raise FallThrough
    if is_ahead(retry_at_s_in(f"{beside}.backoff"), now_s) or holder_pids([f"{beside}.lock"]):
        return False
    must_be_missing(f"{beside}.{fingerprint(token)}.next")
    return True


def _renew_beside(environ: Mapping[str, str], account: str | None) -> None:
    from kimi_auth.credential.detached import renew_detached

    try:
        login = f"{PLATFORM}@{_account(environ, account)}"
        renew_detached(_share_dir(environ), login, environ, (*OAUTH_HOST_VARIABLES, *API_BASE_VARIABLES))
    except (OSError, FallThrough):
        return  # no process can be started: the next command tries again


def _share_dir(environ: Mapping[str, str]) -> str:
    folder, _ = select(environ, variables=SHARE_DIR_VARIABLES, default=SHARE_DIR_DEFAULT)
    if folder == SHARE_DIR_DEFAULT and (home := environ.get("HOME", "")):
        folder = home + folder.removeprefix("~")
    if os.name != "posix" or not folder or folder.startswith("~"):
        raise FallThrough
    return folder


def _has_usual_api(environ: Mapping[str, str]) -> bool:
    """False for an API base that the full program may refuse; True when it is certainly fine."""
    base = select(environ, variables=API_BASE_VARIABLES)[0].strip()
    return not base or base.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:"))


def _is_from(issuer: str, bound: str, environ: Mapping[str, str]) -> bool:
    """True if record and binding name the OAuth host that the environment selects, or name none and it is the built-in
    one; False when in doubt."""
    selected = select(environ, variables=OAUTH_HOST_VARIABLES, default=OAUTH_HOST)[0].strip().rstrip("/")
    return (issuer or bound or OAUTH_HOST) == selected and bound in ("", selected)


def _hand_out(text: str) -> int:
    """The fast lane writes the token straight to the descriptor: there is nothing to flush, so nothing can fail later."""
    line = f"{text}\n".encode("ascii")
    try:
        while line:
            line = line[os.write(1, line) :]
    except BrokenPipeError:
        return 1  # the reader has gone, and a message would not arrive
    except OSError as error:
        os.write(2, f"kimi-auth: {_unwritten(error)}\n".encode())
        return 1
    return 0


def _say_account(environ: Mapping[str, str], named: str | None) -> None:
    """Says whose token it was, where that is an account with a label and no option chose it; as the full program does."""
    if named is not None or environ.get(STORE, "").strip():
        return
    try:
        label, source = account_meant(environ, lambda: account_in_use(_share_dir(environ), PLATFORM))
    except FallThrough:
        return
    if label == UNLABELLED:
        return
    from kimi_auth.support.language import selected, spoken, tr

    said = spoken(tr("this token is of the account {name} ({source})", name=label, source=source), selected(environ))
    try:
        os.write(2, f"kimi-auth: {said}\n".encode())
    except OSError:
        return  # as where it is closed


def _unwritten(error: OSError) -> str:
    from kimi_auth.support.language import selected, spoken, tr  # a token that arrives needs no sentences

    said = tr("cannot write to standard output: {reason}", reason=error.strerror)
    hint = tr("send the output somewhere else")
    return spoken(tr("{message} ({hint})", message=said, hint=hint), selected(os.environ))


if __name__ == "__main__":
    sys.exit(main())

"""Every parser of what a disk or a server holds, on mutated samples: an answer or its declared error, never anything else.

`make test` tries some thousand inputs of each; `make fuzz` a hundred thousand of each, a million and more in all.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from fuzz.mutate import mutations
from hypothesis import settings

from kimi_auth import __main__ as fast_lane
from kimi_auth.errors import ConfigError, CorruptCredential
from kimi_auth.machine import trace
from kimi_auth.models import parse_catalogue
from kimi_auth.models.catalogue_cache import CachedCatalogue
from kimi_auth.models.tomltext import applied, diff, edited, loads
from kimi_auth.platforms.tables import parse as parse_platforms
from kimi_auth.review import walk_picture
from kimi_auth.store import claims, formats
from kimi_auth.store.contract import Backoff, RevokedMark
from kimi_auth.store.owners import Owner
from kimi_auth.support import urls
from kimi_auth.token import Token, fingerprint, parse_record, phase
from kimi_auth.wire import answers, decode, discovery, interpret, sanitize
from kimi_auth.wire.response import RawResponse

PER_EXAMPLE = 20
"""Mutations for each example that hypothesis would be given: one profile rules both kinds of fuzzing."""

PAIR = Token("access-of-a-fuzzed-pair", "refresh-of-a-fuzzed-pair", 1_800_000_000.0, 900.0, scope="kimi-code")
FP = fingerprint(PAIR)
OWNER = Owner("boot-a", "1/2", 4711, "5", "host")
HEADER = claims.Header(FP, "0123456789abcdef", OWNER)
MEETINGS = claims.Meetings(HEADER.nonce, {"boot-b": 3.0})


def as_json(*values: object) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def record(data: bytes) -> None:
    """The fast lane reads what the store reads, and nothing that the store calls corrupt."""
    stored: Token | None
    try:
        stored = formats.decode_record(data, Path("record"))
    except CorruptCredential:
        stored = None
    try:
        fast: Token | None = parse_record(fast_lane.decode(data))
    except (fast_lane.FallThrough, ValueError):
        fast = None
    if data.startswith(codecs.BOM_UTF8):
        assert fast is None, "a byte order mark is for the full program"
    else:
        assert repr(fast) == repr(stored)
        assert (fast and fast.access_token) == (stored and stored.access_token)
    if stored is not None:
        assert phase(stored, 1_800_000_000.0) in {"fresh", "expiring", "expired"}


def claim(data: bytes) -> None:
    found = claims.parse(data, FP)
    assert found.header.fp == FP
    assert data.startswith(found.line)
    assert found.line or (found.header.owner, found.answer, found.is_closed) == (Owner(), None, False)
    for boot in ("boot-a", "boot-b", ""):
        claim = claims.classify(found, MEETINGS, Owner(boot), 100.0)
        assert claim.state in {"staged", "interrupted", "in_flight"}
        assert 0 <= claim.wait_s <= claims.WAIT_S


def meetings(data: bytes) -> None:
    met = claims.decode_meetings(data)
    assert claims.decode_meetings(claims.encode_meetings(met)) == met
    for boot in met.met:
        at_s = met.met_at_s(met.nonce, boot, 100.0)
        assert at_s is None or 0 <= at_s <= 100.0


def refusal(data: bytes) -> None:
    found = formats.decode_revoked(data)
    assert found.message == "" or found.message.isprintable()
    assert formats.decode_revoked(formats.encode_revoked(found)) == found


def backoff(data: bytes) -> None:
    found = formats.decode_backoff(data)
    assert formats.decode_backoff(formats.encode_backoff(found)) == found


def answered(kind: Any, judge: Callable[[RawResponse], Any]) -> Callable[[bytes], None]:
    """A server's body, under each status that has rows of its own."""

    def check(data: bytes) -> None:
        status = (200, 400, 401, 403, 429, 500, 302, 204)[len(data) % 8]
        answer = judge(
            RawResponse("auth.test", status, "application/json", data, secrets=("refresh-of-a-fuzzed-pair",))
        )
        assert answer.outcome in get_args(kind)
        line = answer.error.line if answer.error else ""
        assert line.isprintable()
        assert "refresh-of-a-fuzzed-pair" not in line
        assert len(answer.message) <= 200

    return check


def metadata(data: bytes) -> None:
    url = discovery.endpoint(decode.json_object(data) or {}, "https://auth.test", "token_endpoint")
    assert url == "" or url.lower().startswith("https://")


def catalogue(data: bytes) -> None:
    with suppress(ValueError, RecursionError):
        models, notes = parse_catalogue(json.loads(data))
        assert all(model.id.isprintable() for model in models)
        assert all(isinstance(note, str) for note in notes)


def platforms(data: bytes) -> None:
    with suppress(ConfigError):
        for platform in parse_platforms(data.decode("utf-8", "replace"), "platforms.toml")[0]:
            assert platform.api_base.lower().startswith(("https://", "http://"))


def config(data: bytes) -> None:
    """An edit of a config text makes exactly the requested change, or is refused."""
    text = data.decode("utf-8", "replace")
    try:
        before = loads(text)
    except (ValueError, RecursionError):
        return
    edits = diff(before, {**before, "default_model": "m", "models": {"m": {"provider": "p", "max_context_size": 1}}})
    try:
        after = edited(text, edits)
    except (ValueError, RecursionError):
        return
    assert repr(loads(after)) == repr(applied(before, edits)) or loads(after) == applied(before, edits)


def memo(data: bytes) -> None:
    with suppress(ValueError):
        assert CachedCatalogue.model_validate_json(data).etag


def words(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert sanitize.clean(text, 60).isprintable()
    assert len(sanitize.clean(text, 60)) <= 60
    url = urls.safe_url(text)
    assert url == "" or (url.lower().startswith(("https://", "http://")) and url.isprintable())
    wait_s = sanitize.retry_after_s(text, 1_800_000_000.0)
    assert wait_s is None or 0 <= wait_s <= 900


def walk(data: bytes) -> None:
    for line in data.decode("utf-8", "replace").splitlines():
        traced = trace._parse(line)
        assert traced is None or walk_picture.walk_lines(trace.Walk((traced,)))


GRANT = {"access_token": "a", "refresh_token": "b", "expires_in": 900, "scope": "kimi-code", "token_type": "Bearer"}
CODE = {"device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": "https://a.test/device", "expires_in": 900,
        "verification_uri_complete": "https://a.test/device?c=ABCD-EFGH", "interval": 5}  # fmt: skip
ERRORS = [{"error": code, "error_description": "why"} for code in ("invalid_grant", "slow_down", "access_denied", "x")]
MODELS = {"data": [{"id": "kimi-k2", "context_length": 262144, "supports_reasoning": True}, {"id": "k", "x": [1]}]}
TRACED = trace.Traced("a1b2c3", "device_login", "polling", "slow_down", "waiting", 0.1, 3, 1_800_000_000.0)

PARSERS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "credential": (
        record,
        [formats.encode_record(PAIR), *as_json({"access_token": "", "refresh_token": "", "signed_out_at": 1.0}, GRANT)],
    ),
    "claim": (
        claim,
        [claims.start(HEADER) + behind for behind in (claims.answer(PAIR), claims.CLOSED, b"}\n" + bytes(80), b"")],
    ),
    "meetings of a claim": (meetings, [claims.encode_meetings(MEETINGS)]),
    "refusal": (refusal, [formats.encode_revoked(RevokedMark(1_800_000_000.0, "the server's words"))]),
    "backoff": (backoff, [formats.encode_backoff(Backoff(retry_at_s=5.0, failures=3, unrecognized_fp=FP, unrecognized_count=2))]),
    "device code answer": (answered(answers.CodeOutcome, interpret.code_answer), as_json(CODE, *ERRORS)),
    "poll answer": (answered(answers.PollOutcome, interpret.poll_answer), as_json(GRANT, *ERRORS)),
    "refresh answer": (answered(answers.ExchangeOutcome, interpret.exchange_answer), as_json(GRANT, *ERRORS)),
    "revocation answer": (answered(answers.RevokeOutcome, interpret.revoke_answer), [b"", *as_json({}, *ERRORS)]),
    "models answer": (answered(answers.ModelsOutcome, interpret.models_answer), as_json(MODELS, *ERRORS)),
    "metadata": (
        metadata,
        as_json({"issuer": "https://auth.test", "token_endpoint": "https://auth.test/token", "x": [{}]}),
    ),
    "catalogue": (catalogue, as_json(MODELS)),
    "platforms.toml": (
        platforms,
        [b'v = 1\n[platforms.x]\nname = "X"\nauth = "api_key"\napi_base = "https://x.test/v1"\n'],
    ),
    "config.toml": (
        config,
        [b'# mine\ndefault_model = "a"\n[models.a]\nprovider = "p"\nmax_context_size = 1\n[providers.p]\ntype = "kimi"\n',
         b'models = {a = {provider = "p"}}\nx.y = 1\r\n[[t]]\nz = """a\nb"""\n'],
    ),
    "models memo": (memo, as_json({"v": 1, "api_base": "https://x.test", "etag": "e", "data": MODELS})),
    "words, addresses, dates": (
        words,
        [b"https://auth.test/device?user_code=ABCD", b"http://[::1]:8080/x", b"Wed, 21 Oct 2026 07:28:00 GMT", b"120"],
    ),
    "trace": (walk, [TRACED.line().encode()]),
}  # fmt: skip


@pytest.mark.fuzz
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PARSERS)
def test_any_mutation_has_an_answer(name: str) -> None:
    """Each seeded mutation is answered as declared; a failure shows the bytes as `data`."""
    check, samples = PARSERS[name]
    count = settings.default.max_examples * PER_EXAMPLE
    for data in mutations(samples, count, name):
        check(data)


def test_the_samples_themselves_are_good() -> None:
    """The mutated file is a real one: a parser that refuses everything would show nothing."""
    assert formats.decode_record(PARSERS["credential"][1][0], Path("record")) == PAIR
    assert claims.parse(PARSERS["claim"][1][0], FP).answer is not None
    assert formats.decode_backoff(PARSERS["backoff"][1][0]).failures == 3
    assert interpret.poll_answer(RawResponse("a", 200, "application/json", PARSERS["poll answer"][1][0])).value
    assert interpret.code_answer(RawResponse("a", 200, "application/json", PARSERS["device code answer"][1][0])).value
    assert parse_platforms(PARSERS["platforms.toml"][1][0].decode(), "platforms.toml")[0]
    assert parse_catalogue(json.loads(PARSERS["catalogue"][1][0]))[0]
    assert trace._parse(PARSERS["trace"][1][0].decode())
    assert len(PARSERS) * PER_EXAMPLE * 5_000 > 1_000_000

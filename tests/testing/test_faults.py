"""Scripted answers as data: the accepted scripts, and the refused ones with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_auth.testing.emulator import Fault


@pytest.mark.parametrize(
    ("script", "processes", "words"),
    [
        ({"status": 503}, False, "status 503, not processed"),
        ({"status": 503, "processed": True}, True, "status 503"),
        ({"latency_s": 1.5}, True, "latency 1.5 s"),
        ({"drop": "before"}, False, "drop before, not processed"),
        ({"drop": "before", "processed": False}, False, "drop before, not processed"),
        ({"drop": "after"}, True, "drop after"),
        ({"drop": "during", "status": 200, "body": "{"}, True, "status 200, drop during"),
        ({}, True, ""),
    ],
)
def test_what_a_fault_does(script: dict[str, Any], processes: bool, words: str) -> None:
    """Whether the request is carried out follows from the script where it does not say so."""
    fault = Fault.from_json({"endpoint": "token", **script})
    assert (fault.processes, fault.describe()) == (processes, words)


@pytest.mark.parametrize(
    ("body", "headers", "content", "media_type"),
    [
        (None, {}, None, "application/json"),
        ("<html>", {}, b"<html>", "text/html; charset=utf-8"),
        (' {"error": 1', {}, b' {"error": 1', "application/json"),
        ({"error": "x"}, {}, b'{"error": "x"}', "application/json"),
        ([1], {}, b"[1]", "application/json"),
        ("{}", {"content-Type": "text/plain"}, b"{}", "text/plain"),
    ],
)
def test_body(body: Any, headers: dict[str, str], content: bytes | None, media_type: str) -> None:
    """Text is sent as it is, anything else as JSON, under a fitting or a scripted media type."""
    fault = Fault("token", status=500, body=body, headers=headers)
    assert (fault.content, fault.media_type) == (content, media_type)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("token", "each one is a JSON object"),
        ({}, "endpoint is missing"),
        ({"endpoint": "nowhere"}, "endpoint is one of metadata, device, token"),
        ({"endpoint": "token", "stauts": 500}, "unknown key 'stauts'"),
        ({"endpoint": "token", "grant": "password"}, "grant is device_code"),
        ({"endpoint": "models", "grant": "device_code"}, "grant belongs to the endpoint token"),
        ({"endpoint": "token", "status": 199}, "status is a whole number"),
        ({"endpoint": "token", "status": True}, "status is a whole number"),
        ({"endpoint": "token", "status": "503"}, "status is a whole number"),
        ({"endpoint": "token", "status": 204, "body": "x"}, "status 204 has no body"),
        ({"endpoint": "token", "status": 500, "body": 7}, "body is text"),
        ({"endpoint": "token", "body": "x"}, "headers and body need a status"),
        ({"endpoint": "token", "headers": {"Retry-After": "3"}}, "headers and body need a status"),
        ({"endpoint": "token", "status": 500, "headers": {"A": "x\r\nB: y"}}, "headers maps"),
        ({"endpoint": "token", "status": 500, "headers": {"A b": "x"}}, "headers maps"),
        ({"endpoint": "token", "status": 500, "headers": {"Retry-After": 3}}, "headers maps"),
        ({"endpoint": "token", "status": 500, "headers": {"Content-Length": "3"}}, "headers maps"),
        ({"endpoint": "token", "status": 500, "headers": ["A"]}, "headers maps"),
        ({"endpoint": "token", "times": 0}, "times is a whole number"),
        ({"endpoint": "token", "processed": "yes"}, "processed is true"),
        ({"endpoint": "token", "processed": False}, "needs a status, or drop before"),
        ({"endpoint": "token", "latency_s": -1}, "latency_s is a number"),
        ({"endpoint": "token", "latency_s": float("nan")}, "latency_s is a number"),
        ({"endpoint": "token", "latency_s": 10**400}, "latency_s is a number"),
        ({"endpoint": "token", "latency_s": "1"}, "latency_s is a number"),
        ({"endpoint": "token", "drop": "sometimes"}, "drop is before"),
        ({"endpoint": "token", "drop": "before", "processed": True}, "drop before means"),
        ({"endpoint": "token", "drop": "after", "processed": False}, "drop after means processed"),
        ({"endpoint": "token", "drop": "after", "status": 500}, "drop after answers nothing"),
    ],
)
def test_impossible_scripts(script: object, message: str) -> None:
    """A script that cannot be carried out is refused in one sentence that names the field."""
    with pytest.raises(ValueError, match=message):
        Fault.from_json(script)

"""The emulator's OAuth endpoints: forms in, RFC 6749 §5 JSON out. The rules themselves are in `authorization_server`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Final

from kimi_auth.support.text import clean
from kimi_auth.wire.answers import Grant

from .authorization_server import State
from .call import NO_STORE, Answer, Call, Endpoint, json_answer, read_form
from .records import SCOPE, Device, OAuthError

CLIENT_ID: Final = "17e5f671-d194-4dfb-9706-5516cb48c098"
DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
GRANTS: Final = {DEVICE_CODE_GRANT: "device_code", "refresh_token": "refresh_token"}
STATUS: Final = {"invalid_client": 401}  # RFC 6749 §5.2: everything else is a 400
DEVICE_HEADERS: Final = {
    "platform": "x-msh-platform",
    "version": "x-msh-version",
    "name": "x-msh-device-name",
    "model": "x-msh-device-model",
    "os_version": "x-msh-os-version",
    "device_id": "x-msh-device-id",
}
DEVICE_TEXT_MAX: Final = 120

FormHandler = Callable[[State, Call, Mapping[str, str]], Answer]


def oauth_error(code: str, description: str, tokens: Mapping[str, str] | None = None) -> Answer:
    body = {"error": code, "error_description": description}
    return json_answer(body, STATUS.get(code, 400), outcome=code, tokens=tokens)


def grant_name(call: Call) -> str | None:
    """Which grant the emulator's token endpoint is asked for: `device_code`, `refresh_token`, or None for anything else."""
    try:
        return GRANTS.get(read_form(call).get("grant_type", ""))
    except OAuthError:
        return None


def metadata(state: State, call: Call) -> Answer:
    """The emulator's metadata: RFC 8414 §2, with RFC 8628 §4."""
    oauth = f"{call.base_url}/api/oauth"
    return json_answer(
        {
            "issuer": call.base_url,
            "device_authorization_endpoint": f"{oauth}/device_authorization",
            "token_endpoint": f"{oauth}/token",
            "revocation_endpoint": f"{oauth}/revoke",
            "response_types_supported": [],
            "grant_types_supported": list(GRANTS),
            "scopes_supported": [SCOPE],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
        },
        headers={},
    )


def _form_endpoint(handler: FormHandler) -> Endpoint:
    """Wraps an OAuth endpoint of the emulator: reads the form, checks the client, and turns an OAuthError into its answer."""

    @functools.wraps(handler)
    def endpoint(state: State, call: Call) -> Answer:
        form: Mapping[str, str] = {}
        try:
            form = read_form(call)
            if _required(form, "client_id") != CLIENT_ID:
                raise OAuthError("invalid_client", "This client is not known here.")
            return handler(state, call, form)
        except OAuthError as error:
            return oauth_error(error.code, error.description, _secrets_in(form))

    return endpoint


@_form_endpoint
def device_authorization(state: State, call: Call, form: Mapping[str, str]) -> Answer:
    """RFC 8628 §3.1, 3.2."""
    device = Device(
        **{name: clean(call.headers.get(header, ""), DEVICE_TEXT_MAX) for name, header in DEVICE_HEADERS.items()}
    )
    code = state.issue_code(device)
    page = f"{call.base_url}/device"
    return json_answer(
        {
            "device_code": code.device_code,
            "user_code": code.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={code.user_code}",
            "expires_in": _number(state.settings.code_ttl_s),
            "interval": _number(code.interval_s),
        },
        outcome="issued",
        tokens={"device_code": code.device_code},
    )


@_form_endpoint
def token(state: State, call: Call, form: Mapping[str, str]) -> Answer:
    """The emulator's token endpoint: RFC 8628 §3.4 and RFC 6749 §6."""
    grant_type = _required(form, "grant_type")
    if grant_type not in GRANTS:
        raise OAuthError("unsupported_grant_type", "Only device_code and refresh_token are granted here.")
    spend: Callable[[str], Grant] = {"device_code": state.poll, "refresh_token": state.refresh}[GRANTS[grant_type]]
    grant = spend(_required(form, GRANTS[grant_type]))
    return json_answer(
        {
            "access_token": grant.access_token,
            "refresh_token": grant.refresh_token,
            "token_type": "Bearer",
            "expires_in": _number(grant.expires_in_s),
            "scope": grant.scope,
        },
        outcome="granted",
        tokens={
            **_secrets_in(form),
            "new_access_token": grant.access_token,
            "new_refresh_token": grant.refresh_token or "",
        },
    )


@_form_endpoint
def revoke(state: State, call: Call, form: Mapping[str, str]) -> Answer:
    """The emulator's revocation (RFC 7009 §2): 200 whether or not it knows the token; the type hint is not needed."""
    state.revoke(_required(form, "token"))
    return Answer(headers=NO_STORE, outcome="revoked", tokens=_secrets_in(form))


def _required(form: Mapping[str, str], name: str) -> str:
    if name not in form:
        raise OAuthError("invalid_request", f"The parameter {name} is missing.")
    return form[name]


def _secrets_in(form: Mapping[str, str]) -> dict[str, str]:
    return {name: form[name] for name in ("device_code", "refresh_token", "token") if name in form}


def _number(seconds: float) -> float:
    """A whole number of seconds as JSON writes it: 900, not 900.0."""
    return int(seconds) if seconds == int(seconds) else seconds

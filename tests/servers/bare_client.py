"""The requests that the project's client makes, with bare httpx and nothing around them."""

from __future__ import annotations

from typing import Any, Self, TypeAlias

import httpx
from house.patience import NO_LIMIT_S

from servers.real_server import CLIENT_ID, DEVICE_CODE_GRANT, RealServer

Answer: TypeAlias = tuple[int, str | None]  # the status, and `error` of a JSON body


class Client:
    """One server's endpoints, as methods that return the bare answer; a context manager."""

    def __init__(self, server: RealServer) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.oauth_host, trust_env=False, timeout=NO_LIMIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def device(self, **form: str) -> httpx.Response:
        return self.http.post("/api/oauth/device_authorization", data={"client_id": CLIENT_ID, **form})

    def token(self, **form: str) -> httpx.Response:
        return self.http.post("/api/oauth/token", data={"client_id": CLIENT_ID, **form})

    def poll(self, device_code: str) -> httpx.Response:
        return self.token(grant_type=DEVICE_CODE_GRANT, device_code=device_code)

    def refresh(self, refresh_token: str) -> httpx.Response:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def revoke(self, token: str) -> httpx.Response:
        return self.http.post("/api/oauth/revoke", data={"client_id": CLIENT_ID, "token": token})

    def models(self, authorization: str | None = None) -> httpx.Response:
        headers = {"Authorization": authorization} if authorization is not None else {}
        return self.http.get(f"{self.server.api_base}/models", headers=headers)

    def models_status(self, pair: dict[str, Any]) -> int:
        return self.models(f"Bearer {pair['access_token']}").status_code

    def sign_in(self) -> dict[str, Any]:
        """A person signs in: the token answer."""
        codes = self.device().json()
        self.server.approve(codes["user_code"])
        return ok(self.poll(codes["device_code"]))


def ok(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a 200."""
    assert response.status_code == 200, brief(response)
    body = response.json()
    assert isinstance(body, dict)
    return body


def brief(response: httpx.Response) -> Answer:
    """Status and error, and not a byte of the body more: it may hold tokens."""
    try:
        body = response.json()
    except ValueError:
        body = None
    return response.status_code, body.get("error") if isinstance(body, dict) else None

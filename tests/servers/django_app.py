"""django-oauth-toolkit at its default `/o/`, in a process of its own: Django's settings are global to a process.

The first line on stdout is {"oauth_host"}; the end of stdin ends the server. A person is signed in to Django already.
"""
# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-def,no-untyped-call"

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings

DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
MODELS = json.loads(Path(__file__).with_name("models.json").read_text())


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: user codes are part of the addresses."""


def signed_in(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """A middleware: each request comes from a user who is signed in to this site."""

    def middleware(request: Any) -> Any:
        from django.contrib.auth.models import User

        request.user, _ = User.objects.get_or_create(username="somebody")
        return get_response(request)

    return middleware


def configure(host: str) -> None:
    settings.configure(
        SECRET_KEY=secrets.token_hex(),
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware", f"{__name__}.signed_in"],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        LOGGING_CONFIG=None,
        OAUTH2_PROVIDER={
            "OAUTH_DEVICE_VERIFICATION_URI": f"{host}/o/device/",
            "DEVICE_FLOW_INTERVAL": int(os.environ["INTERVAL_S"]),
            "ACCESS_TOKEN_EXPIRE_SECONDS": int(os.environ["ACCESS_TTL_S"]),
            "REFRESH_TOKEN_EXPIRE_SECONDS": int(os.environ["REFRESH_TTL_S"]),
            "SCOPES": {"read": "Read", "write": "Write"},
        },
    )


def routes() -> list[Any]:
    from django.http import JsonResponse
    from django.urls import include, path
    from oauth2_provider.decorators import protected_resource

    @protected_resource(scopes=["read"])
    def models(_: object) -> Any:
        return JsonResponse(MODELS)

    return [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")), path("coding/v1/models", models)]


def register() -> None:
    """One public client and one with a secret."""
    from oauth2_provider.models import Application

    grant = {"authorization_grant_type": DEVICE_CODE_GRANT}
    Application.objects.create(name="Public", client_id="my-client", client_type="public", client_secret="", **grant)
    Application.objects.create(
        name="Confidential",
        client_id="my-confidential-client",
        client_type="confidential",
        client_secret="my-secret",
        **grant,
    )


def main() -> None:
    server = make_server("127.0.0.1", 0, lambda *_: [], handler_class=Quiet)
    host = f"http://127.0.0.1:{server.server_port}"
    configure(host)
    django.setup()
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    register()
    global urlpatterns  # noqa: PLW0603 - what Django looks for in ROOT_URLCONF
    urlpatterns = routes()
    server.set_app(get_wsgi_application())

    def end() -> None:
        sys.stdin.read()
        server.shutdown()

    threading.Thread(target=end, daemon=True).start()
    print(json.dumps({"oauth_host": host}), flush=True)
    server.serve_forever(poll_interval=0.02)


urlpatterns: list[Any] = []

if __name__ == "__main__":
    main()

"""The models that a platform offers: its API is asked, unless the platform names them itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from kimi_auth.errors import Unreachable
from kimi_auth.platforms import Platform
from kimi_auth.support.language import tr

if TYPE_CHECKING:  # what asks a server is loaded by what does it
    from kimi_auth.models import Catalogue, CatalogueCache
    from kimi_auth.wire import ModelsPage

__all__ = ["BearerRejected", "discover"]

log: logging.Logger = logging.getLogger("kimi_auth.models")


class BearerRejected(Unreachable):
    """The platform answered 401: it wants another access token."""

    code = "bearer_rejected"
    usually_transient = False
    default_hint: ClassVar[str] = tr("try again; if that does not help, sign in again: kimi-auth login --force")


async def discover(
    platform: Platform, bearer: str, headers: Mapping[str, str], *, memory: CatalogueCache | None = None
) -> Catalogue:
    """Asks for the models that the platform offers to this bearer, or the error that says why they are not known.

    A platform that names its models itself is asked nothing. With a `memory` the server is asked whether they have
    changed since, if it has given an ETag (RFC 9110 §13.1.2).
    """
    from kimi_auth.models import Catalogue, ModelEntry, offered

    if platform.models is not None:
        return Catalogue(offered(platform, tuple(ModelEntry(**model._asdict()) for model in platform.models)))
    from kimi_auth.wire import fetch_models

    memo = memory.recall(platform) if memory else None
    answer = await fetch_models(platform.api_base, bearer, headers, etag=memo.etag if memo else "")
    if answer.outcome == "rejected":
        return Catalogue(error=BearerRejected(tr("{platform} rejected the access token", platform=platform.name)))
    if answer.outcome == "unchanged" and memo is not None:
        return _offered(platform, memo.data)
    if answer.outcome != "models" or answer.value is None:
        return Catalogue(
            error=answer.error or Unreachable(tr("{platform} did not list its models", platform=platform.name))
        )
    listing: ModelsPage = answer.value
    found = _offered(platform, listing.data)
    if memory is not None and found.error is None:
        memory.keep(platform, listing.etag, listing.data)
    return found


def _offered(platform: Platform, data: object) -> Catalogue:
    from kimi_auth.models import Catalogue, parse_catalogue

    models, notes = parse_catalogue(data, platform.model_prefixes)
    for note in notes:
        log.info("%s: %s", platform.id, note)
    if models:
        return Catalogue(models, notes)
    hint = tr("try again later: kimi-auth models sync")
    return Catalogue(
        (), notes, Unreachable(tr("{platform} lists no models that can be used", platform=platform.name), hint=hint)
    )

"""You will see a code and a link; approve it there, and see the models that your account has.

With `kimi-auth emulator --approve auto` and the variables it prints, it approves itself and touches no account.
"""

from __future__ import annotations

import asyncio
import sys

from kimi_auth import KimiAuthError, Session
from kimi_auth.login.view import Notice, SilentView


class Printed(SilentView):
    """Says each thing in its own sentence; the code is what you compare on the page."""

    def tell(self, notice: Notice) -> None:
        print(notice.message)
        if notice.code is not None:
            print(f"    {notice.code.user_code}    {notice.code.verification_uri}")


async def main() -> None:
    session = Session()
    report = await session.login(Printed())
    if report.error is not None:
        raise report.error
    for model in await session.fetch_models():
        print(model.id)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KimiAuthError as error:
        sys.exit(error.line)

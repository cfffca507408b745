"""What happened lately: of each way in which a walk has ended, the last one. Never a finding: it is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kimi_auth.cli.doctor.check import Check
from kimi_auth.cli.doctor.credential import file_of
from kimi_auth.cli.options import components_of
from kimi_auth.credential.history import UNFINISHED, WalkFile
from kimi_auth.credential.status import Status
from kimi_auth.machine import Library
from kimi_auth.machine.trace import Walk
from kimi_auth.support.language import tr

if TYPE_CHECKING:
    from kimi_auth.session import Session

__all__ = ["walks"]

SHOWN = 8


def walks(session: Session, _: Status) -> Iterator[Check]:
    """Lists the last walks as checks, newest first: when, which machine, how it ended, what took longest; how to see
    more of one."""
    if file_of(session) is None:
        return
    last = components_of(session).walks
    by_kind = {(kept.machine, kept.end): kept for kept in last.kept()}
    newest = sorted(by_kind.values(), reverse=True)[:SHOWN]
    told = [(kept, walk) for kept in newest if (walk := last.read(kept)) is not None]
    for kept, walk in told:
        yield Check(tr("last walks"), _story(kept, walk))
    if told:
        yield Check(
            tr("all walks"),
            tr(
                "the newest drawn over its machine: kimi-auth diagram --trace last; another: --trace {folder}/FILE",
                folder=last.folder,
            ),
        )


def _story(kept: WalkFile, walk: Walk) -> str:
    # A state that walks another machine takes as long as that one: what took long is inside.
    machines = Library.load()
    alone = [
        traced
        for traced in walk.traced
        if traced.machine in machines
        and (state := machines[traced.machine].states.get(traced.source)) is not None
        and state.walks is None
    ]
    longest = max(alone, key=lambda traced: traced.seconds, default=None)
    slow = tr(", longest {state} {seconds:.2f} s", state=longest.source, seconds=longest.seconds) if longest else ""
    end = tr("was interrupted") if kept.end == UNFINISHED else tr("ended in {state}", state=kept.end)
    return tr(
        "{began}: {machine} {end} after {seconds:.2f} s{slow}",
        began=walk.began,
        machine=kept.machine,
        end=end,
        seconds=walk.seconds,
        slow=slow,
    )

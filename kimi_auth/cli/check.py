"""`kimi-auth diagram --check`: that ./diagrams is up to date, and that every activity has its hook."""

from __future__ import annotations

from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.machines import FOLDER, library, say_which
from kimi_auth.cli.terminal import Terminal
from kimi_auth.machine.library import holds_machines
from kimi_auth.support.language import counted, tr

__all__ = ["check"]


def check(out: Terminal) -> None:
    """Names each missing hook and each stale page. Raises Findings where there is one."""
    from kimi_auth.cli import pictures
    from kimi_auth.proof.verdicts import without_hook
    from kimi_auth.review import diagram as pages
    from kimi_auth.review.hooks import missing

    if not FOLDER.is_dir():
        raise Usage(tr("there is no folder ./diagrams here"), hint=tr("go to the checkout's root and try again"))
    beside = FOLDER.absolute().parent / "machines"
    folder = beside if holds_machines(beside) else None
    machines = library(out, folder)
    say_which(out, machines, folder)
    gaps = [*missing(machines, FOLDER), *without_hook(machines)]
    findings = [*pages.check(FOLDER), *pictures.check(FOLDER)]
    for finding in [*gaps, *findings]:
        out.line(finding)
    if gaps:
        many = counted(len(gaps), tr("one point"), tr("{number} points"))
        words = tr("hooks and machines differ in {points}", points=many)
        raise Findings(words, hint=tr("each line ends with its fix; then: make diagrams"))
    if findings:
        many = counted(len(findings), tr("one page is not up to date"), tr("{number} pages are not up to date"))
        raise Findings(many, hint=tr("draw them: make diagrams"))

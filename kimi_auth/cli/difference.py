"""`kimi-auth diagram --diff REV_OR_DIR`: the machines against those of another revision."""

from __future__ import annotations

from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.machines import problems_printed, refuse_unknown, say_which, show
from kimi_auth.cli.terminal import Terminal
from kimi_auth.machine import SpecError
from kimi_auth.machine.library import in_checkout
from kimi_auth.support.language import counted, listed, tr

__all__ = ["difference"]


def difference(out: Terminal, where: str, form: str, name: str | None) -> None:
    """Shows what changed, all machines or the named one. Raises Findings where anything did."""
    from kimi_auth.cli.machine_view import difference_view
    from kimi_auth.review.difference import compare, pictures
    from kimi_auth.review.revisions import revision

    try:
        before = revision(where)
    except SpecError as error:
        *others, last = error.problems
        for problem in others:
            out.line(problem)
        message, _, fix = last.rpartition("; ")
        raise Usage(message, hint=fix) from None
    with problems_printed(out, tr("the machines cannot be compared")):
        after = revision()
    say_which(out, after.machines, in_checkout())
    refuse_unknown(name, [*after.machines, *before.machines])
    old, new = (
        {each: machine for each, machine in side.machines.items() if name in {None, each}} for side in (before, after)
    )
    found = compare(old, new, after.problems)
    if form == "svg":
        with problems_printed(out, tr("machines that the lints refuse are not drawn")):
            if problems := list(dict.fromkeys([*before.problems, *after.problems])):
                raise SpecError(problems)
        drawn = pictures(found)
        if len(drawn) > 1:
            raise Usage(
                tr("an SVG is one picture, and more than one machine changed"),
                hint=tr("name one: {names}", names=listed(drawn)),
            )
        for picture in drawn.values():
            show(out, picture)
    elif form == "table":
        show(out, found.markdown())
    else:
        show(out, difference_view(found))
    many = counted(len(found.changes), tr("one change"), tr("{number} changes"))
    if found.problems:
        raise Findings(
            tr("{changes}, and the machines cannot run", changes=many), hint=tr("each line ends with its fix")
        )
    if found.changes:
        raise Findings(many, hint=tr("read them, then: make diagrams"))

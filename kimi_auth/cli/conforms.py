"""`kimi-auth diagram --conforms FILE...`: recorded walks against the machines, for CI."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kimi_auth.cli.errors import Findings, Usage
from kimi_auth.cli.options import concluded
from kimi_auth.cli.terminal import Terminal
from kimi_auth.files.reading import SAFELY
from kimi_auth.machine import Machine
from kimi_auth.machine.trace import BYTES_MAX
from kimi_auth.review.conformance import Checked, as_data, checked, totals
from kimi_auth.support.language import counted, joined, tr
from kimi_auth.support.text import clean

__all__ = ["conforms"]


def conforms(out: Terminal, machines: Mapping[str, Machine], files: Sequence[Path]) -> None:
    """Says for each file what it holds, and its first wrong step. Raises Findings where a step is wrong or a file holds
    no walk, and Usage where a file cannot be read."""
    found = [(clean(str(file)), checked(machines, _read(file))) for file in files]
    if out.json:
        out.record(dict(totals(log for _, log in found)) | {"files": [as_data(name, log) for name, log in found]})
    else:
        for name, log in found:
            out.line(joined(": ", (name, _said(log))))
    deviating = sum(log.deviation is not None for _, log in found)
    walkless = sum(log.deviation is None and not log.walks for _, log in found)
    if deviating:
        said = tr(
            "{wrong} of {number} files: a step that the machines do not allow", wrong=deviating, number=len(found)
        )
        raise concluded(out, Findings(said, hint=tr("compare it with: kimi-auth diagram NAME")))
    if walkless:
        said = tr("{wrong} of {number} files: no walk", wrong=walkless, number=len(found))
        raise concluded(out, Findings(said, hint=tr("record one: kimi-auth login --trace FILE")))


def _said(log: Checked) -> str:
    if log.deviation is not None:
        return log.deviation.text
    if not log.walks:
        return tr("holds no walk")
    return joined(", ", _parts(log))


def _parts(log: Checked) -> Iterable[str]:
    walks = counted(log.walks, tr("one walk"), tr("{number} walks"))
    steps = counted(log.transitions, tr("one transition"), tr("{number} transitions"))
    yield tr("conforms: {walks}, {steps}", walks=walks, steps=steps)
    if log.interrupted:
        yield tr("{number} interrupted", number=log.interrupted)
    if log.others:
        yield counted(log.others, tr("one other line passed over"), tr("{number} other lines passed over"))


def _read(file: Path) -> str:
    """The trace of `--conforms`, a regular file, as text, at most as much as a trace may have. It is hostile: it never
    makes the command wait."""
    try:
        descriptor = os.open(file, os.O_RDONLY | SAFELY)
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, tr("it is not a regular file"))
            data = opened.read(BYTES_MAX + 1)
    except OSError as error:
        said = tr("cannot read {file}: {reason}", file=clean(str(file)), reason=error.strerror or type(error).__name__)
        raise Usage(said, hint=tr("record one: kimi-auth login --trace FILE")) from None
    except ValueError:  # a null byte in its name
        raise Usage(tr("a file's name holds a null byte"), hint=tr("name another file")) from None
    if len(data) > BYTES_MAX:
        said = tr("{file} holds more than {size} MiB", file=clean(str(file)), size=BYTES_MAX >> 20)
        raise Usage(said, hint=tr("split it at the end of a walk"))
    return data.decode("utf-8", "replace")

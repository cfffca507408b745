"""Every lint, one row each: machine files and the exact findings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kimi_auth.machine import Library, SpecError

HEAD = 'name = "m"\nabout = "A."\ninitial = "a"\n'
END = '[states.end]\nabout = "E."\ntone = "good"\n'


def machine(body: str, head: str = HEAD, end: str = END) -> str:
    """A file with a head, some states and a rest state named end."""
    return head + body + end


A = '[states.a]\nabout = "S."\nactivity = "go"\non.ok = "end"\n'
CHILD = (
    'name = "c"\nabout = "C."\ninitial = "w"\nholds = "key"\n'
    '[states.w]\nabout = "W."\nactivity = "work"\non.ok = "done"\non.no = "lost"\n'
    '[states.done]\nabout = "D."\ntone = "good"\n'
    '[states.lost]\nabout = "L."\ntone = "bad"\n'
)
WALKING = (
    '[states.a]\nabout = "S."\nactivity = "take"\nholds = "key"\nwalks = "c"\n'
    'on.done = "end"\non.lost = "end"\non.busy = "end"\n'
)

ROWS: dict[str, tuple[dict[str, str], list[str]]] = {
    "unknown key in a state": (
        {"m": machine(A + 'activty = "go"\n')},
        ["m.toml, [states.a]: unknown key 'activty'; did you mean 'activity'?"],
    ),
    "unknown key at the top": (
        {"m": machine(A, head=HEAD + "version = 3\n")},
        ["m.toml, top level: unknown key 'version'; known are name, about, initial, holds, states"],
    ),
    "wrong type of an outcome's target": (
        {"m": machine(A + "on.bad = 3\n")},
        ["m.toml, [states.a]: on.bad has the wrong type; write text in quotes"],
    ),
    "wrong type at the top": (
        {"m": machine(A, head=HEAD + "holds = 3\n")},
        ["m.toml, top level: holds has the wrong type; write text in quotes"],
    ),
    "a state that is no table": (
        {"m": HEAD + "states.b = 3\n" + A + END},
        ["m.toml, top level: states.b has the wrong type; write a table"],
    ),
    "outcomes that are no table": (
        {"m": machine(A + '[states.b]\nabout = "B."\nactivity = "spin"\non = 3\n')},
        [
            "m.toml, [states.b]: on has the wrong type; write a table",
            "m.toml, [states.b]: cannot be reached from 'a'; lead an outcome here or remove the state",
            "m.toml, [states.b]: activity 'spin' has no outcome; declare each one as on.<outcome> = <state>",
        ],
    ),
    "name and file differ": (
        {"other": machine(A)},
        ["other.toml, top level: name is 'm'; write name = 'other' or rename the file"],
    ),
    "no name": (
        {"m": machine(A, head='about = "A."\ninitial = "a"\n')},
        ["m.toml, top level: name is ''; write name = 'm' or rename the file"],
    ),
    "machine without about": (
        {"m": machine(A, head='name = "m"\ninitial = "a"\n')},
        ["m.toml, top level: about is missing; say in a sentence what this is"],
    ),
    "state with a blank about": (
        {"m": machine(A.replace('"S."', '"  "'))},
        ["m.toml, [states.a]: about is missing; say in a sentence what this is"],
    ),
    "unknown initial": (
        {"m": machine(A, head=HEAD.replace('"a"', '"edn"'))},
        ["m.toml, top level: initial is 'edn', which is no state; did you mean 'end'?"],
    ),
    "no initial": (
        {"m": machine(A, head='name = "m"\nabout = "A."\n')},
        ["m.toml, top level: initial is '', which is no state; name the state in which a walk begins"],
    ),
    "no states": (
        {"m": HEAD},
        ["m.toml, top level: initial is 'a', which is no state; name the state in which a walk begins"],
    ),
    "unknown target": (
        {"m": machine(A + 'on.odd = "nowhere"\n')},
        ["m.toml, [states.a]: on.odd leads to 'nowhere', which is no state; add [states.nowhere] or change the target"],
    ),
    "mistyped target": (
        {"m": machine(A + 'on.odd = "edn"\n')},
        ["m.toml, [states.a]: on.odd leads to 'edn', which is no state; did you mean 'end'?"],
    ),
    "only an unknown target is not called a trap as well": (
        {"m": machine(A.replace('"end"', '"nowhere"'), end="")},
        ["m.toml, [states.a]: on.ok leads to 'nowhere', which is no state; add [states.nowhere] or change the target"],
    ),
    "unreachable state": (
        {"m": machine(A + '[states.b]\nabout = "B."\ntone = "bad"\n')},
        ["m.toml, [states.b]: cannot be reached from 'a'; lead an outcome here or remove the state"],
    ),
    "trap": (
        {
            "m": machine(
                A + 'on.odd = "b"\n[states.b]\nabout = "B."\nactivity = "spin"\non.on = "c"\n'
                '[states.c]\nabout = "C."\nactivity = "spin"\non.on = "b"\n'
            )
        },
        [
            "m.toml, [states.b]: is a trap, no rest state can be reached from it; give it an outcome that leads out",
            "m.toml, [states.c]: is a trap, no rest state can be reached from it; give it an outcome that leads out",
        ],
    ),
    "activity without outcomes": (
        {"m": machine(A + 'on.odd = "b"\n[states.b]\nabout = "B."\nactivity = "spin"\n')},
        ["m.toml, [states.b]: activity 'spin' has no outcome; declare each one as on.<outcome> = <state>"],
    ),
    "holds without an activity": (
        {"m": machine(A, end=END + 'holds = "key"\n')},
        ["m.toml, [states.end]: holds without an activity; name the hook that takes the resource"],
    ),
    "walks without a hook and without holds": (
        {"m": machine(A, end=END + 'walks = "c"\non.done = "end"\non.lost = "end"\n'), "c": CHILD},
        [
            "m.toml, [states.end]: walks without an activity; name the hook that takes the resource",
            "m.toml, [states.end]: walks 'c' but holds nothing; name the resource that is held meanwhile",
        ],
    ),
    "walks without holds": (
        {"m": machine(WALKING.replace('holds = "key"\n', "")), "c": CHILD},
        ["m.toml, [states.a]: walks 'c' but holds nothing; name the resource that is held meanwhile"],
    ),
    "rest state without tone": (
        {"m": machine(A, end=END.replace('tone = "good"\n', ""))},
        ["m.toml, [states.end]: a rest state without tone; write one of good, plain, bad"],
    ),
    "unknown tone": (
        {"m": machine(A, end=END.replace('"good"', '"fine"'))},
        ["m.toml, [states.end]: tone is 'fine'; write one of good, plain, bad"],
    ),
    "tone on a working state": (
        {"m": machine(A + 'tone = "good"\n')},
        ["m.toml, [states.a]: tone is for rest states only; remove it or remove the activity"],
    ),
    "names that are not snake_case": (
        {
            "m": machine(
                '[states.a]\nabout = "S."\nactivity = "goNow"\nholds = "Key"\non.OK = "end"\non._x = "2nd"\n'
                '[states.2nd]\nabout = "T."\ntone = "bad"\n[states.""]\nabout = "N."\ntone = "bad"\n'
                '[states.c]\nabout = "C."\nactivity = ""\non.ok = ""\n',
                head=HEAD + 'holds = "the key"\n',
            )
        },
        [
            "m.toml, top level: holds 'the key' is not snake_case; write it as [a-z][a-z0-9_]*",
            "m.toml, [states.a]: activity 'goNow' is not snake_case; write it as [a-z][a-z0-9_]*",
            "m.toml, [states.a]: holds 'Key' is not snake_case; write it as [a-z][a-z0-9_]*",
            "m.toml, [states.a]: the outcome 'OK' is not snake_case; write it as [a-z][a-z0-9_]*",
            "m.toml, [states.a]: the outcome '_x' is not snake_case; write it as [a-z][a-z0-9_]*",
            "m.toml, [states.2nd]: the state's name '2nd' is not snake_case; write it as [a-z][a-z0-9_]*",
            "m.toml, [states.]: the state's name '' is not snake_case; write it as [a-z][a-z0-9_]*",
            "m.toml, [states.c]: activity '' is not snake_case; write it as [a-z][a-z0-9_]*",
            "m.toml, [states.]: cannot be reached from 'a'; lead an outcome here or remove the state",
            "m.toml, [states.c]: cannot be reached from 'a'; lead an outcome here or remove the state",
            (
                "m.toml, top level: holds 'the key' but no state walks this machine; "
                "name it in a walks or remove the holds"
            ),
        ],
    ),
    "machine's name is not snake_case": (
        {"M-1": machine(A, head=HEAD.replace('"m"', '"M-1"'))},
        ["M-1.toml, top level: name 'M-1' is not snake_case; write it as [a-z][a-z0-9_]*"],
    ),
    "acquired as an edge": (
        {"m": machine(WALKING + 'on.acquired = "end"\n'), "c": CHILD},
        ["m.toml, [states.a]: on.acquired is implicit in a state that walks a child; remove it"],
    ),
    "unknown child": (
        {"m": machine(WALKING.replace('walks = "c"', 'walks = "d"'))},
        ["m.toml, [states.a]: walks 'd', which is no machine here; add d.toml"],
    ),
    "child of another lock": (
        {"m": machine(WALKING), "c": CHILD.replace('holds = "key"', 'holds = "coat"')},
        ["m.toml, [states.a]: holds 'key' but c.toml holds 'coat'; write the same in both"],
    ),
    "child without a lock": (
        {"m": machine(WALKING), "c": CHILD.replace('holds = "key"\n', "")},
        ["m.toml, [states.a]: holds 'key' but c.toml declares no holds; write the same in both"],
    ),
    "child's end without an answer": (
        {"m": machine(WALKING.replace('on.lost = "end"\n', "")), "c": CHILD},
        ["m.toml, [states.a]: c can end in 'lost', which is no outcome here; add on.lost"],
    ),
    "locked machine that nobody walks": (
        {"c": CHILD},
        ["c.toml, top level: holds 'key' but no state walks this machine; name it in a walks or remove the holds"],
    ),
    "lock taken twice": (
        {"m": machine(WALKING), "c": CHILD.replace('activity = "work"\n', 'activity = "work"\nholds = "key"\n')},
        ["c.toml, top level: holds 'key', and c.toml [states.w] takes it again; remove one of the two"],
    ),
    "machines that walk in a circle": (
        {
            "m": machine(WALKING.replace('walks = "c"', 'walks = "m"').replace("on.done", "on.end"), head=HEAD),
        },
        [
            "m.toml, [states.a]: holds 'key' but m.toml declares no holds; write the same in both",
            "*.toml, top level: machines walk in a circle, m -> m; take one walks out",
        ],
    ),
    "many at once": (
        {
            "m": machine(A.replace('about = "S."\n', "") + 'activty = "x"\non.odd = "edn"\n'),
            "n": machine(A, head=HEAD.replace('"m"', '"n"'), end=END.replace('"good"', '"great"')),
        },
        [
            "m.toml, [states.a]: unknown key 'activty'; did you mean 'activity'?",
            "m.toml, [states.a]: about is missing; say in a sentence what this is",
            "m.toml, [states.a]: on.odd leads to 'edn', which is no state; did you mean 'end'?",
            "n.toml, [states.end]: tone is 'great'; write one of good, plain, bad",
        ],
    ),
}


@pytest.mark.parametrize(("files", "problems"), ROWS.values(), ids=ROWS)
def test_each_mistake_is_one_line(load: Callable[..., Library], files: dict[str, str], problems: list[str]) -> None:
    """A mistake is refused on load with exactly its own lines, all of them in one error."""
    with pytest.raises(SpecError) as caught:
        load(**files)
    assert list(caught.value.problems) == problems
    assert str(caught.value) == "\n".join(problems)


def test_the_pieces_of_the_table_are_good(load: Callable[..., Library]) -> None:
    """What the rows break is accepted unbroken, so that each row fails for its own reason only."""
    assert list(load(m=machine(A))) == ["m"]
    assert list(load(m=machine(WALKING), c=CHILD)) == ["c", "m"]


def test_a_state_reached_only_by_an_outside_event_is_alive(load: Callable[..., Library]) -> None:
    """Events that leave a rest state count when states are looked for."""
    again = '[states.again]\nabout = "N."\nactivity = "again"\non.ok = "end"\n'
    assert "again" in load(m=machine(A, end=END + 'on.touched = "again"\n' + again))["m"].states


def test_a_lock_taken_again_further_down_is_found(load: Callable[..., Library]) -> None:
    """A grandchild that takes the lock of the grandparent would wait for ever."""
    child = CHILD.replace('activity = "work"\n', 'activity = "work"\nholds = "coat"\nwalks = "g"\n')
    grandchild = CHILD.replace('name = "c"', 'name = "g"').replace('holds = "key"', 'holds = "coat"')
    grandchild = grandchild.replace('activity = "work"\n', 'activity = "work"\nholds = "key"\n')
    grandchild = grandchild.replace('"done"', '"ok"').replace(".done", ".ok")
    grandchild = grandchild.replace('"lost"', '"no"').replace(".lost", ".no")
    with pytest.raises(SpecError) as caught:
        load(m=machine(WALKING), c=child, g=grandchild)
    assert caught.value.problems == (
        "c.toml, top level: holds 'key', and g.toml [states.w] takes it again; remove one of the two",
    )


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"name = \n", id="no value"),
        pytest.param(b"[", id="cut off"),
        pytest.param(b"about = '\xff'\n", id="not UTF-8"),
        pytest.param(b"a" + b".b" * 2000 + b" = 1\n", id="deep tables"),
        pytest.param(b"a = " + b"[" * 2000 + b"]" * 2000 + b"\n", id="deep arrays"),
    ],
)
def test_a_file_that_cannot_be_read_does_not_hide_the_rest(tmp_path: Path, broken: bytes) -> None:
    """The other files are still checked, each alone: whether `c` exists cannot be said."""
    (tmp_path / "c.toml").write_bytes(broken)
    (tmp_path / "m.toml").write_text(machine(WALKING + "odd = 1\n").replace('about = "E."\n', ""))
    with pytest.raises(SpecError) as caught:
        Library.load(tmp_path)
    unreadable, *rest = caught.value.problems
    assert re.fullmatch(r"c\.toml: is not TOML \(.+\); fix the syntax there", unreadable)
    assert rest == [
        "m.toml, [states.a]: unknown key 'odd'; known are about, activity, holds, walks, tone, on",
        "m.toml, [states.end]: about is missing; say in a sentence what this is",
    ]


LOCK_ROWS: dict[str, tuple[dict[str, str], list[str]]] = {
    "in a machine that holds it": ({"turn": "key", "oil": "key"}, []),
    "in a state that holds it": ({"take_key": "key"}, []),
    "nothing guarded": ({}, []),
    "without the lock": (
        {"dial": "line"},
        [
            (
                "call.toml, [states.dialling]: dial runs without 'line'; "
                "write holds = 'line' here, or move it into a machine that holds it"
            )
        ],
    ),
    "under another lock": (
        {"oil": "can"},
        [
            (
                "door.toml, [states.oiling]: oil runs without 'can'; "
                "write holds = 'can' here, or move it into a machine that holds it"
            )
        ],
    ),
    "a name that guards nothing": (
        {"trun": "key"},
        ["*.toml, top level: no state runs 'trun', which is to be guarded; fix the name or drop it from the list"],
    ),
}


@pytest.mark.parametrize(("guarded", "problems"), LOCK_ROWS.values(), ids=LOCK_ROWS)
def test_lock_discipline(library: Library, guarded: dict[str, str], problems: list[str]) -> None:
    """A guarded activity runs only where its resource is held."""
    assert library.lint_lock(guarded) == problems

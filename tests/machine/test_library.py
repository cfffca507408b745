"""Where machines come from, and that nothing changes them afterwards."""

from __future__ import annotations

import copy
import errno
import hashlib
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from house.environments import unmeasured

import kimi_auth.machine
from kimi_auth.machine import Library, Machine, SpecError, digest, library, spec

ROOM = Path(kimi_auth.machine.__file__).parent


def test_a_library_is_a_sorted_mapping(load: Callable[..., Library], texts: dict[str, str]) -> None:
    """Machines by name, in the order of their names, whatever order the files had."""
    machines = load(**dict(reversed(texts.items())))
    assert list(machines) == ["call", "door", "errand"]
    assert len(machines) == 3
    assert machines["door"].name == "door"
    assert repr(machines) == "<Library call, door, errand>"
    with pytest.raises(KeyError):
        machines["window"]


def test_file_order_is_kept(load: Callable[..., Library], texts: dict[str, str]) -> None:
    """States and outcomes stand as in the file: the first outcome is the happy one."""
    call = load(**texts)["call"]
    assert list(call.states) == ["dialling", "talking", "hung_up", "gave_up"]
    assert list(call.states["dialling"].on) == ["answered", "engaged", "dead"]
    assert call.rest == ("hung_up", "gave_up")


def test_other_files_are_left_alone(tmp_path: Path, texts: dict[str, str]) -> None:
    """A folder of machines may hold a README."""
    (tmp_path / "README.md").write_text("# Machines\n")
    (tmp_path / "call.toml").write_text(texts["call"])
    assert list(Library.load(tmp_path)) == ["call"]


STRANGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an editor's lock": (".#call.toml", lambda file: file.symlink_to("me@host.123:456"), ""),
    "an editor's copy": (".call.toml", lambda file: file.write_text("= half"), ""),
    "a folder": ("x.toml", Path.mkdir, "x.toml: is no file; move it away"),
    "a FIFO": ("x.toml", os.mkfifo, "x.toml: is no file; move it away"),
    "a link to nothing": ("x.toml", lambda file: file.symlink_to("gone"), "x.toml: is no file; move it away"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_lies_among_the_machines(tmp_path: Path, texts: dict[str, str], name: str) -> None:
    """Hidden files are left alone; a machine's name on something that is no file is reported, and never waited for."""
    (tmp_path / "call.toml").write_text(texts["call"])
    called, make, problem = STRANGE[name]
    make(tmp_path / called)
    if problem:
        with pytest.raises(SpecError) as caught:
            Library.load(tmp_path)
        assert caught.value.problems == (problem,)
    else:
        assert list(Library.load(tmp_path)) == ["call"]


@pytest.mark.parametrize("what", ["iterdir", "read_bytes"])
def test_machines_that_may_not_be_read(
    tmp_path: Path, texts: dict[str, str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A folder or a file that the system does not let us read is named, with the system's reason."""
    (tmp_path / "call.toml").write_text(texts["call"])

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, what, refuse)
    place = "call.toml:" if what == "read_bytes" else str(tmp_path)
    with pytest.raises(SpecError, match=rf"^{place} cannot be read \(Permission denied\); .+$"):
        Library.load(tmp_path)


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_without_machines(tmp_path: Path, folder: str) -> None:
    """Nothing found is said, not shown as an empty library."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=r"holds no machine; give a folder with a NAME\.toml for each machine$"):
        Library.load(tmp_path / folder)


def test_machines_cannot_be_changed(load: Callable[..., Library], texts: dict[str, str]) -> None:
    """No field, state or edge of a loaded machine can be set."""
    call = load(**texts)["call"]
    with pytest.raises(AttributeError):
        call.initial = "talking"  # type: ignore[misc]
    with pytest.raises(TypeError):
        call.states["new"] = call.states["talking"]  # type: ignore[index]
    with pytest.raises(TypeError):
        call.states["talking"].on["done"] = "gave_up"  # type: ignore[index]


def test_data_goes_round(load: Callable[..., Library], texts: dict[str, str]) -> None:
    """`data` is what `from_data` takes, fresh each time, in file order."""
    machines = load(**texts)
    data = machines.data()
    again = Library.from_data(data)
    assert again.data() == data
    assert digest(again) == digest(machines)
    assert list(data["call"]["states"]["dialling"]["on"]) == ["answered", "engaged", "dead"]
    data["call"]["states"]["dialling"]["on"]["dead"] = "hung_up"
    assert machines["call"].states["dialling"].on["dead"] == "gave_up"
    assert copy.deepcopy(machines.data()) == pickle.loads(pickle.dumps(machines.data()))


def test_a_changed_copy_is_linted_too(load: Callable[..., Library], texts: dict[str, str]) -> None:
    """A mutant goes through the same door."""
    data = load(**texts).data()
    data["door"]["states"]["oiling"]["on"]["oiled"] = "oiling"
    assert Library.from_data(data)["door"].states["oiling"].on["oiled"] == "oiling"
    data["door"]["states"]["turning"]["on"]["open"] = "ajar"
    with pytest.raises(SpecError, match=r"on\.open leads to 'ajar'"):
        Library.from_data(data)


def test_libraries_do_not_share_children(load: Callable[..., Library], texts: dict[str, str]) -> None:
    """Machines that are put into a second library keep the children they have in the first."""
    first = load(**texts)
    mutant = Library.from_data(first.data() | {"door": first["door"].data() | {"about": "Another."}})["door"]
    second = Library({**first, "door": mutant})
    assert first["errand"].child("waiting_for_key") is first["door"]
    assert second["errand"].child("waiting_for_key") is second["door"]
    assert second["door"].about == "Another."
    assert first["errand"].child("at_home") is None


SAME = {
    "comments": lambda text: "# what a machine\n" + text.replace("\n[", "\n# next\n["),
    "white space": lambda text: text.replace(" = ", "   =   ") + "\n\n",
    "key order": lambda text: text.replace(
        'about = "Dials the number."\nactivity = "dial"\n', 'activity = "dial"\nabout = "Dials the number."\n'
    ),
    "a table instead of dotted keys": lambda text: text.replace(
        'on.done = "hung_up"\non.cut_off = "dialling"\n', 'on = { done = "hung_up", cut_off = "dialling" }\n'
    ),
}
OTHER = {
    "a target": lambda text: text.replace('on.cut_off = "dialling"', 'on.cut_off = "gave_up"'),
    "a sentence": lambda text: text.replace("Somebody answered.", "Somebody answers."),
    "the order of outcomes": lambda text: text.replace(
        'on.done = "hung_up"\non.cut_off = "dialling"\n', 'on.cut_off = "dialling"\non.done = "hung_up"\n'
    ),
    "a tone": lambda text: text.replace('"bad"', '"plain"'),
}


@pytest.mark.parametrize(
    ("change", "same"),
    [(change, True) for change in SAME.values()] + [(change, False) for change in OTHER.values()],
    ids=[*SAME, *OTHER],
)
def test_the_digest_is_of_what_is_said(
    load: Callable[..., Library], texts: dict[str, str], change: Callable[[str], str], same: bool
) -> None:
    """Comments, white space and key order do not count; everything that means something does."""
    before = load(**texts)
    after = load(**texts | {"call": change(texts["call"])})
    assert change(texts["call"]) != texts["call"]
    assert (digest(after["call"]) == digest(before["call"])) is same
    assert (digest(after) == digest(before)) is same
    assert digest(after["door"]) == digest(before["door"])
    assert len(digest(before)) == 64


def test_the_bytes_under_a_digest() -> None:
    """The hashed form is fixed, so that committed digests stay valid: compact JSON in UTF-8, empty tables left out."""
    machine = Machine.from_data({"name": "m", "initial": "é", "states": {"é": {"tone": "good", "on": {}}}})
    text = '{"name":"m","about":"","initial":"é","states":{"é":{"about":"","tone":"good"}}}'
    assert digest(machine) == hashlib.sha256(text.encode()).hexdigest()
    assert digest({"m": machine}) == hashlib.sha256(f'{{"m":{text}}}'.encode()).hexdigest()


def test_machines_are_compared_by_identity(load: Callable[..., Library], texts: dict[str, str]) -> None:
    """Two machines that say the same are two machines with one digest."""
    one, other = load(**texts)["call"], load(**texts)["call"]
    assert one != other
    assert len({one, other, one}) == 2
    assert digest(one) == digest(other)


# --- the two roots ---------------------------------------------------------------------------------------------------


def test_the_packaged_folder_comes_first(tmp_path: Path, texts: dict[str, str]) -> None:
    """The machines shipped with the package run; a folder beside it is for checkouts."""
    package, checkout = tmp_path / "package", tmp_path
    for root, text in ((package, texts["call"]), (checkout, texts["door"])):
        (root / "machines").mkdir(parents=True)
        (root / "machines" / "call.toml").write_text(text)
    assert library.find(package, checkout) == package / "machines"
    (package / "machines" / "call.toml").unlink()
    assert library.find(package, checkout) == checkout / "machines"


def test_no_machines_anywhere(tmp_path: Path) -> None:
    """An incomplete installation says where it looked."""
    with pytest.raises(SpecError) as caught:
        library.find(tmp_path / "package", tmp_path)
    assert str(caught.value) == (
        f"no machines in {tmp_path}/package/machines nor in {tmp_path}/machines; "
        "install kimi_auth again, its files are incomplete"
    )


def test_a_folder_inside_a_zip(tmp_path: Path, texts: dict[str, str]) -> None:
    """`load` reads what `importlib.resources` gives it, not only paths."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("machines/call.toml", texts["call"])
    assert list(Library.load(zipfile.Path(archive, "machines/"))) == ["call"]


PROGRAM = """
import sys
from kimi_auth.machine import Library, steps
machines = Library.load()
assert machines is Library.load()
import kimi_auth.machine.library as where
print(where.__file__, *machines, next(steps(machines["errand"])).child.name)
"""


def installed(root: Path, texts: dict[str, str], machines: str) -> list[tuple[str, bytes]]:
    """The files of a copy of this room in a package of its own, with machines in the folder `machines`."""
    files = [
        ("kimi_auth/__init__.py", b""),
        ("kimi_auth/support/__init__.py", b""),
        ("kimi_auth/support/logs.py", (ROOM.parent / "support/logs.py").read_bytes()),
    ]
    files += [(f"kimi_auth/machine/{path.name}", path.read_bytes()) for path in sorted(ROOM.glob("*.py"))]
    return files + [(f"{machines}/{stem}.toml", text.encode()) for stem, text in texts.items()]


@pytest.mark.parametrize(
    ("zipped", "machines"),
    [(True, "kimi_auth/machines"), (False, "kimi_auth/machines"), (False, "machines")],
    ids=["zip", "wheel", "checkout"],
)
def test_the_machines_are_found(tmp_path: Path, texts: dict[str, str], zipped: bool, machines: str) -> None:
    """A fresh interpreter finds them in a zip, beside the code of a wheel and beside the package of a checkout."""
    root = tmp_path / ("all.zip" if zipped else "root")
    if zipped:
        with zipfile.ZipFile(root, "w") as archive:
            for name, content in installed(root, texts, machines):
                archive.writestr(name, content)
    else:
        for name, content in installed(root, texts, machines):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    # Coverage of the copies would be counted as missing.
    environment = unmeasured()
    environment |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    where, *names = done.stdout.split()
    assert where == str(root / "kimi_auth/machine/library.py")
    assert names == ["call", "door", "errand", "door"]


def test_the_default_lookup_knows_its_package() -> None:
    """The packaged folder is looked for in the package that this room belongs to."""
    assert library._PACKAGE == "kimi_auth"
    assert resources.files(library._PACKAGE).joinpath("machine").is_dir()
    assert spec.ACQUIRED == "acquired"

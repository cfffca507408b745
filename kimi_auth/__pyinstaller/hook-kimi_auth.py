"""What a frozen program needs of kimi-auth and cannot see in its imports: machines, platforms, and modules loaded by name."""

from __future__ import annotations

from pathlib import Path

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

from kimi_auth.machine import library

# Commands and lazily loaded names are imported by text. Machines of a bare checkout stand beside the package.
hiddenimports = collect_submodules("kimi_auth", filter=lambda name: not name.startswith("kimi_auth.__pyinstaller"))
datas = collect_data_files("kimi_auth", excludes=["__pyinstaller"]) + copy_metadata("kimi-auth")
machines = Path(str(library.own_folder()))
if machines != Path(library.__file__).parents[1] / "machines":
    datas += [(str(file), "kimi_auth/machines") for file in machines.glob("*.toml")]

"""What a sandbox is given: a credential file whose refresh token is a handle, its secret, and the lines that start it.

The refresh token of the login is in none of it.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from kimi_auth.clock import SystemClock
from kimi_auth.files import PRIVATE_DIRECTORY, make_directories, write_durably
from kimi_auth.files.reach import Location
from kimi_auth.home import KIMI_CODE
from kimi_auth.support.language import tr
from kimi_auth.token import Token, key_fingerprint

from .api_paths import PREFIX
from .handles import Handles
from .relay import PORT

__all__ = ["FORMS", "Sandbox"]

FORMS = ("record", "env", "docker", "devcontainer", "kubernetes")
"""The texts that can be printed of a sandbox."""

MOUNTED, HOME_INSIDE = "/run/kimi", "/run/kimi-home"
"""Where the recipes mount the socket's directory and the home that was written."""


@contextmanager
def _directory(path: Path | str, at: int | None = None) -> Iterator[int]:
    """A descriptor of a directory of the home whose files a sandbox is given; below `at`, of one that is no link.
    Raises OSError."""
    no_link = 0 if at is None else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | no_link, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_below(top: int, home: Path, name: str, content: bytes, owner: int) -> None:
    """Writes the file `name` of a sandbox's `home`, in it or in a directory in it; `top` is open on `home`. `owner`: -1 for ours."""
    folder, _, last = name.rpartition("/")
    with suppress(FileExistsError):
        os.mkdir(folder or ".", PRIVATE_DIRECTORY, dir_fd=top)
    try:
        with _directory(folder or ".", top) as inside:
            write_durably(Location(inside, last, home / name), content)
            os.chown(last, owner, -1, dir_fd=inside, follow_symlinks=False)
            os.fchown(inside, owner, -1)
    except NotADirectoryError as error:
        raise NotADirectoryError(error.errno, tr("a link, or no directory"), str(home / folder)) from None


class Sandbox(NamedTuple):
    """One sandbox of the grant `name`. `port`: where its relay offers the socket inside. `socket_dir`: the directory on the host
    that is mounted; `home`: the directory that was written for it, None if none was. `is_proxied`: the API, too, is reached
    through the socket."""

    name: str
    grant_id: str
    token: Token
    handles: Handles
    socket_dir: Path
    api_base: str
    platform: str
    port: int = PORT
    home: Path | None = None
    is_proxied: bool = False

    @property
    def api_base_inside(self) -> str:
        """The base URL of the API as a client inside calls it."""
        return f"{self.oauth_host}{PREFIX}" if self.is_proxied else self.api_base

    @property
    def oauth_host(self) -> str:
        """The value of KIMI_CODE_OAUTH_HOST inside."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pair(self) -> Token:
        """The pair in a sandbox's credential file: the access token of now, and a handle as its refresh token."""
        handle = self.handles.handle(self.grant_id, key_fingerprint(self.token.access_token))
        now = self.token
        return Token(
            now.access_token, handle, now.expires_at_s, now.expires_in_s, now.scope, now.token_type, self.oauth_host
        )

    @property
    def secret(self) -> str:
        """The grant's secret, for programs that are no OAuth client."""
        return self.handles.secret(self.grant_id)

    def record(self) -> str:
        """The content of a sandbox's credential file, for the Kimi CLI and for kimi-auth."""
        return json.dumps(self.pair.record())

    def files(self) -> dict[str, bytes]:
        """The files of a sandbox's home that the Kimi CLI, kimi-auth and kimi-code find their login in, by their relative path."""
        slot = KIMI_CODE.slot("", self.oauth_host, self.api_base_inside)
        spelt = KIMI_CODE.layout(Path(HOME_INSIDE), slot, SystemClock()).encode(self.pair)
        return {
            f"credentials/{self.platform}.json": self.record().encode(),
            f"credentials/{slot.removeprefix('oauth/')}.json": spelt,
            "secret": self.secret.encode() + b"\n",
        }

    def write(self, home: Path, uid: int) -> None:
        """Writes a sandbox's files into `home`, private and durable; as root for the user `uid`. Raises OSError, also
        for a link below `home`: a sandbox that had this home before could lead to files of the host by one."""
        make_directories(home)
        owner = uid if os.geteuid() == 0 and uid != 0 else -1
        with _directory(home) as top:
            for name, content in self.files().items():
                _write_below(top, home, name, content, owner)
            os.fchown(top, owner, -1)

    def environment(self) -> dict[str, str]:
        """What selects the grant inside a sandbox, where the home is mounted as the recipes do."""
        api = {"KIMI_CODE_BASE_URL": self.api_base_inside} if self.is_proxied else {}
        return {
            "KIMI_CODE_OAUTH_HOST": self.oauth_host,
            **api,
            "KIMI_SHARE_DIR": HOME_INSIDE,
            "KIMI_CODE_HOME": HOME_INSIDE,
        }

    def printed(self, form: str) -> str:
        """The text of one of `FORMS`."""
        made = {
            "record": self.record,
            "env": self._env,
            "docker": self._docker,
            "devcontainer": self._devcontainer,
            "kubernetes": self._kubernetes,
        }
        return made[form]()

    def _env(self) -> str:
        return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in self.environment().items())

    def _mounts(self) -> list[tuple[str, str]]:
        return [(str(self.socket_dir), MOUNTED), (str(self.home or "HOME_THAT_WAS_WRITTEN"), HOME_INSIDE)]

    def _docker(self) -> str:
        words = ["docker", "run", "--rm", "-it"]
        words += [
            word
            for source, target in self._mounts()
            for word in ("-v", f"{source}:{target}{':ro' * (target == MOUNTED)}")
        ]
        words += [word for name, value in self.environment().items() for word in ("-e", f"{name}={value}")]
        words += ["IMAGE", "kimi-auth", "serve", "relay", f"{MOUNTED}/kimi.sock", str(self.port), "--", "COMMAND"]
        return shlex.join(words)

    def _devcontainer(self) -> str:
        mounts = [
            f"source={source},target={target},type=bind{',readonly' * (target == MOUNTED)}"
            for source, target in self._mounts()
        ]
        start = f"kimi-auth serve relay {MOUNTED}/kimi.sock {self.port}"
        told = {
            "mounts": mounts,
            "containerEnv": self.environment(),
            "postStartCommand": f"nohup {start} >/dev/null 2>&1 &",
        }
        return json.dumps(told, indent=2)

    def _kubernetes(self) -> str:
        """Lines that start a sandbox: parts of a pod's specification, in JSON, which is YAML."""
        names = ("kimi-socket", "kimi-home")
        mounts = self._mounts()
        told = {
            "volumes": [
                {"name": name, "hostPath": {"path": source, "type": "Directory"}}
                for name, (source, _) in zip(names, mounts, strict=True)
            ],
            "containers": [
                {
                    "name": "agent",
                    "command": ["kimi-auth", "serve", "relay", f"{MOUNTED}/kimi.sock", str(self.port), "--", "COMMAND"],
                    "env": [{"name": name, "value": value} for name, value in self.environment().items()],
                    "volumeMounts": [
                        {"name": name, "mountPath": target, "readOnly": target == MOUNTED}
                        for name, (_, target) in zip(names, mounts, strict=True)
                    ],
                }
            ],
        }
        return json.dumps(told, indent=2)

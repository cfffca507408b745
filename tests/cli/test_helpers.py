"""`kimi-auth token --format`: each shape, and the programs that ask for it."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kimi_auth.__main__ import FallThrough, answer
from kimi_auth.cli.helpers import NOT_FOUND
from kimi_auth.testing.emulator import Emulator
from kimi_auth.token import Token

Run = Callable[..., Any]

HELPER = f"{sys.executable} -m kimi_auth token --format"


def need(program: str, package: str) -> str:
    """The path of a real program; the test is skipped without it."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed: apt-get install {package}")
    return path


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], None]:
    """What the program that asks writes to standard input."""

    def give(text: str | bytes) -> None:
        raw = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(raw)))

    return give


@pytest.fixture
def token(kimi: Run) -> str:
    """Of a login."""
    kimi("login")
    return str(kimi("token").out.strip())


def asked_by_git(base: str, **more: str) -> str:
    scheme, _, rest = base.partition("://")
    said = {"protocol": scheme, "host": rest.partition("/")[0], **more}
    return "".join(f"{name}={value}\n" for name, value in said.items()) + "\n"


def test_plain_and_claude(kimi: Run, token: str) -> None:
    """The token and a newline, with and without the fast lane."""
    for form in ("plain", "claude"):
        assert kimi("token", "--format", form).out == f"{token}\n"


def test_json(kimi: Run, token: str) -> None:
    """`--format json` is `--json`, for errors too."""
    assert kimi("token", "--format", "json").json.keys() == kimi("token", "--json").json.keys()
    kimi("logout")
    assert json.loads(kimi("token", "--format=json").out)["error"]["code"] == "not_signed_in"


def test_git(kimi: Run, token: str, says: Callable[[str], None], emulator: Emulator) -> None:
    """User name, token, and its end in unix seconds; the user name that git asks for is kept."""
    ends = kimi("token", "--json").json["expires_at"]
    says(asked_by_git(emulator.api_base, path="a/b.git", capability="x"))
    said = kimi("token", "--format", "git", "get")
    assert (said.status, said.err) == (0, "")
    assert said.out == f"username=oauth2\npassword={token}\npassword_expiry_utc={int(ends)}\n"
    says(asked_by_git(emulator.api_base, username="me"))
    assert kimi("token", "--format", "git").out.startswith("username=me\n")


ELSEWHERE = {
    "another host": "protocol=https\nhost=git.example\n\n",
    "another port": "protocol=http\nhost=127.0.0.1:1\n\n",
    "another scheme": "protocol=https\nhost={host}\n\n",
    "a host that is none": "protocol=https\nhost=a b\x1b[2J\n\n",
    "a host with a path": "protocol=http\nhost={host}/x\n\n",
    "a host with a query": "protocol=http\nhost={host}?.git.example\n\n",
    "a host with a fragment": "protocol=http\nhost={host}#.git.example\n\n",
    "a host with a user": "protocol=http\nhost=me@{host}\n\n",
    "a host with a backslash": "protocol=http\nhost={host}\\.git.example\n\n",
    "a host with a carriage return": "protocol=http\nhost={host}\r\n\n",
    "a host with a tab": "protocol=http\nhost={host}\t\n\n",
    "a host in percents": "protocol=http\nhost={host}%2f.git.example\n\n",
    "a protocol with a host": "protocol=http://{host}/?\nhost=git.example\n\n",
    "no protocol": "host={host}\n\n",
    "nothing": "",
    "no text": b"\xff\xfe",
    "too much": "protocol=http\nhost={host}\n" + "x" * 70_000,
    "a host behind the end": "protocol=http\n\nhost={host}\n",
}


@pytest.mark.parametrize("asked", ELSEWHERE.values(), ids=ELSEWHERE)
def test_no_other_host_gets_the_token(
    kimi: Run, token: str, says: Callable[[str | bytes], None], emulator: Emulator, asked: str | bytes
) -> None:
    """git asks helpers for each host; one that is not the platform's API gets nothing, and the next helper is asked."""
    host = emulator.api_base.partition("://")[2].partition("/")[0]
    says(asked.replace("{host}", host) if isinstance(asked, str) else asked)
    said = kimi("token", "--format", "git", "get")
    assert (said.status, said.out) == (0, "")
    assert emulator.api_base in said.err
    assert "\x1b" not in said.err
    says("registry.example")
    said = kimi("token", "--format", "docker", "get")
    assert (said.status, said.out) == (1, f"{NOT_FOUND}\n")


def test_what_git_erases_is_replaced(kimi: Run, token: str, says: Callable[[str], None], emulator: Emulator) -> None:
    """A token that git's server has refused is rotated, once; one that is not the stored one changes nothing, and neither
    do `store` and operations of later versions."""
    for operation, password in (("store", token), ("new-operation", token), ("erase", "another"), ("erase", "")):
        says(asked_by_git(emulator.api_base, password=password))
        said = kimi("token", "--format", "git", operation)
        assert (said.status, said.out) == (0, "")
        assert kimi("token").out == f"{token}\n"
    says(asked_by_git("https://git.example", password=token))
    kimi("token", "--format", "git", "erase")
    assert kimi("token").out == f"{token}\n"
    says(asked_by_git(emulator.api_base, password=token))
    assert kimi("token", "--format", "git", "erase").status == 0
    assert kimi("token").out != f"{token}\n"


def test_docker(kimi: Run, token: str, says: Callable[[str], None], emulator: Emulator) -> None:
    """`get` names server, user and secret; `list` the server; nothing is stored for `docker login`."""
    host = emulator.api_base.partition("://")[2].partition("/")[0]
    for server in (host, f"http://{host}/v1/"):
        says(server)
        said = kimi("token", "--format", "docker", "get")
        assert said.json == {"ServerURL": server, "Username": "oauth2", "Secret": token}
    assert kimi("token", "--format", "docker", "list").json == {f"http://{host}": "oauth2"}
    says('{"ServerURL": "x", "Username": "u", "Secret": "s"}')
    assert kimi("token", "--format", "docker", "store").status == 2
    says(host)
    assert kimi("token", "--format", "docker", "erase").status == 0
    assert kimi("token").out == f"{token}\n"


def exec_info(version: str, server: str = "") -> str:
    spec = {"interactive": False} | ({"cluster": {"server": server}} if server else {})
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})


V1, BETA = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"


@pytest.mark.parametrize(
    ("info", "version"),
    [("", V1), ("{}", V1), (exec_info(V1), V1), (exec_info(BETA), BETA), (exec_info("evil/v9"), V1)],
)
def test_kubectl(kimi: Run, token: str, monkeypatch: pytest.MonkeyPatch, info: str, version: str) -> None:
    """An ExecCredential in the version that kubectl speaks, with an end as RFC 3339 has it."""
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", info)
    given, ends = kimi("token", "--format", "kubectl").json, kimi("token", "--json").json["expires_at"]
    assert (given["apiVersion"], given["kind"], given["status"]["token"]) == (version, "ExecCredential", token)
    stamp = given["status"]["expirationTimestamp"]
    assert datetime.datetime.fromisoformat(stamp).timestamp() == int(ends)
    assert stamp.endswith("Z")


UNREADABLE = {
    "another shape": "[]",
    "half": exec_info(V1, "https://other.example")[:-1],
    "no JSON": "x",
    "too deep": "[" * 20_000,
    "too long": exec_info(V1) + " " * 70_000,
    "a spec that is none": json.dumps({"spec": "x"}),
    "a cluster that is none": json.dumps({"spec": {"cluster": None}}),
    "a cluster without a server": json.dumps({"spec": {"cluster": {}}}),
    "a server that is none": json.dumps({"spec": {"cluster": {"server": 1}}}),
    "an empty server": json.dumps({"spec": {"cluster": {"server": ""}}}),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_cluster_that_cannot_be_read(kimi: Run, token: str, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Where it is not certain which cluster kubectl asks for, no cluster gets the token."""
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", UNREADABLE[case])
    said = kimi("token", "--format", "kubectl")
    assert (said.status, said.out) == (9, "")
    assert "Traceback" not in said.err


def test_kubectl_of_another_cluster(kimi: Run, token: str, monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    """Where kubectl names the cluster, only the platform's own API gets the token."""
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", exec_info(V1, "https://other.example"))
    said = kimi("token", "--format", "kubectl")
    assert (said.status, said.out) == (9, "")
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", exec_info(V1, emulator.api_base))
    assert kimi("token", "--format", "kubectl").json["status"]["token"] == token


def test_a_key_has_no_end(kimi: Run, says: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """No shape invents an end for an API key."""
    monkeypatch.setenv("KIMI_API_KEY", "sk-kimi-1")
    says(asked_by_git(os.environ["KIMI_CODE_BASE_URL"]))
    assert kimi("token", "--format", "git").out == "username=oauth2\npassword=sk-kimi-1\n"
    assert kimi("token", "--format", "kubectl").json["status"] == {"token": "sk-kimi-1"}


@pytest.mark.parametrize(
    "args",
    [
        ("--format", "xml"),
        ("--format", "git", "--json"),
        ("get",),
        ("--format", "kubectl", "get"),
        ("--format", "json", "get"),
    ],
    ids=" ".join,
)
def test_usage(kimi: Run, args: tuple[str, ...]) -> None:
    """A shape that is none, and what does not go together: exit 2, and nothing is printed."""
    said = kimi("token", *args)
    assert said.status == 2
    assert "Traceback" not in said.err


@pytest.mark.parametrize("form", ["plain", "json", "claude", "git", "docker", "kubectl"])
def test_the_fast_lane(token: str, age: Callable[[float], Token], form: str) -> None:
    """It answers the shapes that depend on nothing else, as the full program does, and leaves the others to it."""
    now_s = age(800).expires_at_s - 800
    try:
        line, _ = answer(["token", "--format", form], os.environ, now_s)
    except FallThrough:
        assert form in {"git", "docker", "kubectl"}
    else:
        assert (json.loads(line)["access_token"] if form == "json" else line) == token


# --- the real programs -----------------------------------------------------------------------------------------------


MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Server(BaseHTTPRequestHandler):
    """A server that gives what `ANSWERS` has to those who send the token, and asks others for it."""

    protocol_version = "HTTP/1.1"
    accepted: ClassVar[set[str]] = set()
    challenge: ClassVar[str] = 'Basic realm="test"'
    root: ClassVar[Path]

    def do_GET(self) -> None:
        path = self.root / self.path.partition("?")[0].strip("/")
        if self.headers.get("Authorization") not in self.accepted:
            self._send(401, b"", {"WWW-Authenticate": self.challenge})
        elif path.is_file():
            kind = MANIFEST if "manifests" in path.parts else "text/plain"
            self._send(200, path.read_bytes(), {"Content-Type": kind})
        else:
            self._send(200 if path.is_dir() and path.name == "v2" else 404, b"", {})

    do_HEAD = do_GET  # noqa: N815

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> Iterator[Callable[..., str]]:
    """Serves a directory to the bearer of the token, as the API of the platform; gives its base URL."""
    servers: list[ThreadingHTTPServer] = []

    def serve(root: Path, accepted: str, *, tls: ssl.SSLContext | None = None) -> str:
        handler = type("Handler", (Server,), {"root": root, "accepted": {accepted}})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        base = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("KIMI_CODE_BASE_URL", base)
        return base

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"oauth2:{token}".encode()).decode()


@pytest.mark.real_program
def test_real_git(served: Callable[..., str], tmp_path: Path, token: str) -> None:
    """git fetches from a server that wants the token, with the helper as it is configured in the documents; `git credential`
    passes on what it says of the token's end, from the version on that knows it."""
    git = need("git", "git")
    work = tmp_path / "work"
    quiet = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "HOME": str(tmp_path)}
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    for command in (
        (git, "init", "-q", str(work)),
        (git, "-C", str(work), *identity, "commit", "-q", "--allow-empty", "-m", "one"),
        (git, "clone", "-q", "--bare", str(work), str(tmp_path / "served" / "repo.git")),
        (git, "-C", str(tmp_path / "served" / "repo.git"), "update-server-info"),
    ):
        subprocess.run(command, env=quiet, check=True, capture_output=True)
    base = served(tmp_path / "served", basic(token))
    quiet["KIMI_CODE_BASE_URL"] = base
    configured = (git, "-c", f"credential.{base}.helper=!{HELPER} git")
    done = subprocess.run(
        (*configured, "ls-remote", f"{base}/repo.git"), check=False, env=quiet, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "HEAD" in done.stdout
    done = subprocess.run(
        (*configured, "credential", "fill"),
        check=False,
        env=quiet,
        input=asked_by_git(base),
        capture_output=True,
        text=True,
    )
    assert f"password={token}\n" in done.stdout
    version = tuple(map(int, subprocess.check_output((git, "--version"), text=True).split()[2].split(".")[:2]))
    assert ("password_expiry_utc=" in done.stdout) is (version >= (2, 40))


@pytest.mark.real_program
def test_real_docker(served: Callable[..., str], tmp_path: Path, token: str) -> None:
    """docker's client asks `docker-credential-kimi` for the registry, without an engine, and reads a manifest with it."""
    docker = need("docker", "docker-cli")
    config = b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}'
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    described = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest}
    image = tmp_path / "served" / "v2" / "image"
    for folder in ("manifests", "blobs"):
        (image / folder).mkdir(parents=True)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    (image / "manifests" / "latest").write_text(json.dumps(manifest))
    (image / "blobs" / digest).write_bytes(config)
    _, context = certificate(tmp_path)
    base = served(tmp_path / "served", basic(token), tls=context)
    registry = base.partition("://")[2]
    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "docker-credential-kimi"
    helper.write_text(f'#!/bin/sh\nexec {HELPER} docker "$@"\n')
    helper.chmod(0o755)
    settings = tmp_path / "docker"
    settings.mkdir()
    (settings / "config.json").write_text(json.dumps({"credHelpers": {registry: "kimi"}}))
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DOCKER_CONFIG": str(settings)}
    environ |= {"KIMI_CODE_BASE_URL": base}
    command = (docker, "manifest", "inspect", "--insecure", f"{registry}/image:latest")
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schemaVersion"] == 2


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1, and the context of a server that has it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    public = folder / "ca.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return public, context


@pytest.mark.real_program
def test_real_kubectl(served: Callable[..., str], tmp_path: Path, token: str) -> None:
    """kubectl runs the helper from its kubeconfig, tells it the cluster, and sends the token there."""
    kubectl = need("kubectl", "kubernetes-client")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "version").write_text('{"major": "1"}')
    public, context = certificate(tmp_path)
    base = served(tmp_path / "served", f"Bearer {token}", tls=context)
    told = json.loads(subprocess.check_output((kubectl, "version", "--client", "-o", "json")))
    minor = int(told["clientVersion"]["minor"].rstrip("+"))
    user = {
        "exec": {
            "apiVersion": V1 if minor >= 22 else BETA,
            "command": sys.executable,
            "args": ["-m", "kimi_auth", "token", "--format", "kubectl"],
            "interactiveMode": "Never",
            "provideClusterInfo": True,
        }
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": base, "certificate-authority": str(public)}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    environ = {
        **os.environ,
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "HOME": str(tmp_path),
        "KIMI_CODE_BASE_URL": base,
    }
    done = subprocess.run(
        (kubectl, "get", "--raw", "/version"), check=False, env=environ, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, '{"major": "1"}'), done.stderr

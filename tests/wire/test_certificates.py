"""Certificates over real TLS connections: which are trusted, and the message about one that is not."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from house.patience import NO_LIMIT_S, joined
from wire.sending import Send, in_loop, in_thread

from kimi_auth.errors import ConfigError
from kimi_auth.wire import Answer, Endpoints, LocatedClient, OAuthClient, certificates
from kimi_auth.wire.certificates import VARIABLES, trusted
from kimi_auth.wire.failures import UntrustedError
from kimi_auth.wire.request import Request

DAY = datetime.timedelta(days=1)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + b'{"access_token":"a"}'
CA_HINT = "if you trust that issuer, set SSL_CERT_FILE (or SSL_CERT_DIR) to its certificate in PEM form"


class Pair(NamedTuple):
    """A server's certificate with its key, and the authority's certificate, as PEM files."""

    server: Path
    authority: Path


def make_pair(folder: Path, subject: str, address: str = "127.0.0.1", ends_in: datetime.timedelta = DAY) -> Pair:
    now = datetime.datetime.now(datetime.UTC)
    issuer = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "Office CA"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme\x1b[2J"),
        ]
    )
    issuer_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])

    def signed(
        whose: x509.Name, public: Any, end: datetime.datetime, *extensions: tuple[Any, bool]
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(issuer, whose, public, x509.random_serial_number(), now - 9 * DAY, end)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        ).sign(issuer_key, hashes.SHA256())

    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    authority = signed(
        issuer,
        issuer_key.public_key(),
        now + DAY,
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (usage, True),
        (x509.SubjectKeyIdentifier.from_public_key(issuer_key.public_key()), False),
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName("auth.kimi.test")])
    leaf = signed(name, key.public_key(), now + ends_in, (names, not subject))
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pair = Pair(folder / "server.pem", folder / "ca.pem")
    pair.server.write_bytes(secret + leaf.public_bytes(pem))
    pair.authority.write_bytes(authority.public_bytes(pem))
    return pair


Start = Callable[[Pair], str]


class Server(NamedTuple):
    url: str
    requests: list[bytes]
    connections: list[socket.socket]


@pytest.fixture
def serve(next_request: Any) -> Iterator[Callable[[Pair], Server]]:
    """Starts TLS servers that answer every request with tokens."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(pair: Pair) -> Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.server)
        listener = socket.create_server(("127.0.0.1", 0))
        server = Server(f"https://127.0.0.1:{listener.getsockname()[1]}", [], [])
        listeners.append(listener)

        def work() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    server.connections.append(peer)
                    peer.settimeout(NO_LIMIT_S)
                    with peer, contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as inside:
                        server.requests.append(next_request(inside))
                        inside.sendall(REPLY)

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        return server

    yield start
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        joined(thread)


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(certificates, "_read", None)  # what another test read


def both_ways(test: Any) -> Any:
    """From a thread and from an event loop, over both libraries."""
    return pytest.mark.usefixtures("library")(pytest.mark.parametrize("send", [in_thread, in_loop])(test))


def post(url: str) -> Request:
    return Request("POST", url, {}, {"refresh_token": "s3cret-token"}, secrets=("s3cret-token",))


@both_ways
@pytest.mark.parametrize("subject", ["office proxy", ""])
def test_an_unknown_authority(serve: Any, send: Send, tmp_path: Path, subject: str) -> None:
    """Nothing is sent, and the message has the names of the certificate that was presented, without their escapes."""
    server = serve(make_pair(tmp_path, subject))
    response = send(post(server.url))
    names = f"it is for {subject or '127.0.0.1'}, issued by Office CA, Acme[2J"
    assert response.failure is UntrustedError
    assert response.message == f"its certificate is not trusted (unable to get local issuer certificate): {names}"
    assert response.hint == CA_HINT
    assert server.requests == []


@both_ways
@pytest.mark.parametrize(
    ("address", "ends_in", "reason", "hint"),
    [
        ("127.0.0.1", -DAY, "certificate has expired", "check the clock of this machine"),
        ("10.1.2.3", DAY, "IP address mismatch", "another server answered"),
    ],
)
def test_a_certificate_that_does_not_fit(
    serve: Any,
    send: Send,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    ends_in: datetime.timedelta,
    reason: str,
    hint: str,
) -> None:
    """An expired certificate and another host's need another step than an unknown authority."""
    pair = make_pair(tmp_path, "office proxy", address, ends_in)
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.authority))
    response = send(post(serve(pair).url))
    assert response.failure is UntrustedError
    assert reason in response.message
    assert "it is for office proxy" in response.message
    assert response.hint.startswith(hint)


@both_ways
@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_is_read(
    serve: Any, send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Those of OpenSSL, of requests and of curl each name the trusted authority, in quotes as well."""
    pair = make_pair(tmp_path, "kimi")
    if variable == "SSL_CERT_DIR":
        folder = tmp_path / "hashed"
        folder.mkdir()
        (folder / f"{_subject_hash(pair.authority)}.0").write_bytes(pair.authority.read_bytes())
        monkeypatch.setenv(variable, str(folder))
    else:
        monkeypatch.setenv(variable, f"'{pair.authority}'")
    response = send(post(serve(pair).url))
    assert (response.failure, response.status) == (None, 200)


def _subject_hash(certificate: Path) -> str:
    """The name by which OpenSSL looks for an authority in a directory."""
    import subprocess

    command = ["openssl", "x509", "-subject_hash", "-noout", "-in", str(certificate)]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except OSError:
        pytest.skip("the program openssl is missing; run: apt-get install openssl")


SYSTEM_HAS = 50
"""Authorities of a system that has its own."""


class System(NamedTuple):
    """Where OpenSSL finds a system's authorities: by name in `folder`, and all of them in `file`."""

    folder: Path
    file: Path

    def add(self, name: str, content: bytes) -> None:
        """As update-ca-certificates does."""
        (self.folder / name).write_bytes(content)
        with self.file.open("ab") as file:
            file.write(content)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A system with one authority less than one of its own has."""
    made = System(tmp_path / "certs", tmp_path / "bundle.crt")
    made.folder.mkdir()
    made.file.touch()
    for number in range(SYSTEM_HAS - 1):
        made.add(f"{number:08x}.0", b"never read")
    paths = ssl.get_default_verify_paths()._replace(openssl_capath=str(made.folder), openssl_cafile=str(made.file))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)

    def load_default_certs(context: ssl.SSLContext, *_: object) -> None:
        pem = made.file.read_bytes().replace(b"never read", b"") if made.file.exists() else b""
        if b"-----BEGIN" in pem:
            context.load_verify_locations(cadata=pem.decode())
        context.load_verify_locations(capath=made.folder)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load_default_certs)
    return made


def named(pair: Pair) -> str:
    return f"{_subject_hash(pair.authority)}.0"


@both_ways
def test_the_system_finds_an_authority_by_its_name(serve: Any, send: Send, tmp_path: Path, system: System) -> None:
    """Of many authorities in a directory only the one that is asked for is read, and none of certifi's is trusted."""
    pair = make_pair(tmp_path, "kimi")
    system.add(named(pair), pair.authority.read_bytes())
    assert trusted().cert_store_stats()["x509"] == 0
    response = send(post(serve(pair).url))
    assert (response.failure, response.status) == (None, 200)
    assert trusted().cert_store_stats()["x509"] == 1


def appended(system: System, pair: Pair) -> None:
    """By a Dockerfile, after the system's own."""
    system.add("0000abcd.0", b"never read")
    with system.file.open("ab") as file:
        file.write(pair.authority.read_bytes())


def mounted(system: System, pair: Pair) -> None:
    """Over the system's file, as Kubernetes' trust bundles are."""
    system.add("0000abcd.0", b"never read")
    system.file.write_bytes(pair.authority.read_bytes())


def unreadable(system: System, pair: Pair) -> None:
    """The authority's own file, made under umask 077; root reads it, so that a link without a file stands for it here."""
    system.add(named(pair), pair.authority.read_bytes())
    (system.folder / named(pair)).unlink()
    (system.folder / named(pair)).symlink_to(system.folder / "gone.pem")


def one_less(system: System, pair: Pair) -> None:
    """A company's own few."""
    system.file.write_bytes(pair.authority.read_bytes())


def without_a_directory(system: System, pair: Pair) -> None:
    """Fedora before 43, conda, Homebrew."""
    for path in system.folder.iterdir():
        path.unlink()
    system.folder.rmdir()
    system.file.write_bytes(pair.authority.read_bytes())


@both_ways
@pytest.mark.parametrize("change", [appended, mounted, unreadable, one_less, without_a_directory])
def test_the_system_s_file_counts(
    serve: Any, send: Send, tmp_path: Path, system: System, change: Callable[[System, Pair], None]
) -> None:
    """Where its directory does not have what the file has, all of the file is trusted, and certifi's where both have few."""
    pair = make_pair(tmp_path, "kimi")
    change(system, pair)
    server = serve(pair)
    response = send(post(server.url))
    assert (response.failure, response.status, len(server.connections)) == (None, 200, 1)
    assert trusted().cert_store_stats()["x509_ca"] > SYSTEM_HAS


def test_a_system_s_file_of_authorities_is_enough(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it has many of its own, certifi is not read beside it."""
    system.file.write_bytes(Path(certifi.where()).read_bytes().decode("ascii", "ignore").encode())
    monkeypatch.setitem(sys.modules, "certifi", None)
    assert trusted().cert_store_stats()["x509_ca"] > SYSTEM_HAS


@both_ways
def test_an_old_refusal_is_not_the_new_failure(send: Send, raw_server: Any) -> None:
    """Below an `except` of a certificate that was refused, a server that breaks off is no certificate: the token was sent."""
    server = raw_server(lambda peer: None)
    refusal = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refusal.reason = "CERTIFICATE_VERIFY_FAILED"
    try:
        raise refusal
    except ssl.SSLCertVerificationError:
        broken = send(post(server.url))
        unmet = send(post("http://127.0.0.1:1"))
    assert len(server.requests) == 1
    assert broken.failure is not None
    assert unmet.failure is not None
    assert UntrustedError not in {broken.failure, unmet.failure}


def test_the_first_variable_counts(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE replaces the others, and the message names the variable in which the authority is missing."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pair, other = make_pair(tmp_path / "a", "kimi"), make_pair(tmp_path / "b", "kimi")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pair.authority))
    monkeypatch.setenv("SSL_CERT_FILE", str(other.authority))
    response = in_thread(post(serve(pair).url))
    assert response.failure is UntrustedError
    assert response.hint == "if you trust that issuer, add its certificate to SSL_CERT_FILE"


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names no certificates is a setting to correct, and the message says which."""
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "empty.pem"))
    assert "the certificates in CURL_CA_BUNDLE cannot be used" in in_thread(post("https://auth.test")).message


@both_ways
def test_a_proxy_that_opens_tls(next_request: Any, send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual reason: a proxy answers instead of the server, and the names are those of its own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_pair(tmp_path, "the office's proxy").server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(NO_LIMIT_S)

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(NO_LIMIT_S)
                next_request(peer)
                peer.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                with contextlib.suppress(OSError):
                    context.wrap_socket(peer, server_side=True).close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        response = send(post("https://auth.kimi.test"))
        joined(thread)
    assert response.failure is UntrustedError
    assert "it is for the office's proxy, issued by Office CA" in response.message


def oauth(url: str) -> OAuthClient:
    return OAuthClient(Endpoints(url, f"{url}/device", f"{url}/token", "client", revocation_url=f"{url}/revoke"), {})


def located(url: str) -> LocatedClient:
    return LocatedClient(Endpoints(url, "", "", "client"), {})


@pytest.mark.parametrize("client_of", [oauth, located])
@pytest.mark.parametrize(
    ("ask", "outcome"),
    [
        (lambda client: asyncio.run(client.request_code()), "refused"),
        (lambda client: asyncio.run(client.poll("device-code")), "unreachable"),
        (lambda client: client.exchange("refresh-token"), "not_processed"),
        (lambda client: client.revoke("refresh-token", "refresh_token"), "failed"),
    ],
    ids=["device code", "poll", "exchange", "revoke"],
)
def test_each_request(
    serve: Any, tmp_path: Path, client_of: Callable[[str], Any], ask: Callable[[Any], Answer[Any, Any]], outcome: str
) -> None:
    """A certificate that is not trusted ends the start of a sign-in, and neither a poll nor a login; one connection."""
    server = serve(make_pair(tmp_path, "office proxy"))
    answer = ask(client_of(server.url))
    assert answer.outcome == outcome
    assert type(answer.error) is ConfigError
    assert "it is for office proxy, issued by Office CA" in str(answer.error)
    assert answer.error.hint == CA_HINT
    assert (server.requests, len(server.connections)) == ([], 1)


def test_other_failures_of_tls_stay_failures_of_the_network(library: Any, raw_server: Any) -> None:
    """A port that does not speak TLS presents no certificate."""
    url = raw_server(lambda peer: None).url.replace("http://", "https://")
    assert in_thread(post(url)).failure in {library.ConnectError, library.ConnectTimeout}

"""TLS: verified by default, with the connection's own CA bundle before the environment's."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_server import ScriptedServer, reply

from makini_provider.api.errors import MakiniConfigurationError, MakiniConnectionError
from makini_provider.api.transport import RetryPolicy, Transport, TransportSettings
from makini_provider.hooks.checkup import Level, look_at_the_network

Connect = Callable[..., Transport]
ONCE = RetryPolicy(attempts=1)


def write_certificate(folder: Path, name: str) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key behind it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path, "server")


@pytest.fixture
def other_certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path, "other")


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ScriptedServer(context)
    server.otherwise = reply(200, "there")
    yield server
    server.stop()


def test_an_unknown_certificate_is_refused_with_the_way_out(
    tls_server: ScriptedServer, connect: Connect
) -> None:
    with pytest.raises(MakiniConnectionError, match="'verify'"):
        connect(tls_server.url, retry=ONCE).request("GET", "/x")
    assert tls_server.seen == []


def test_a_ca_bundle_of_the_connection_is_used(
    tls_server: ScriptedServer, connect: Connect, certificate: Path
) -> None:
    assert connect(tls_server.url, verify=str(certificate)).request("GET", "/x").body == b"there"


def test_the_connections_ca_bundle_outranks_the_environments(
    tls_server: ScriptedServer,
    connect: Connect,
    certificate: Path,
    other_certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other_certificate))
    transport = connect(tls_server.url, verify=str(certificate))
    assert transport.request("GET", "/x").body == b"there"
    transport.session.get(f"{tls_server.url}/x").close()


def test_the_environments_ca_bundle_does_not_widen_the_connections(
    tls_server: ScriptedServer,
    connect: Connect,
    certificate: Path,
    other_certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with pytest.raises(MakiniConnectionError):
        connect(tls_server.url, verify=str(other_certificate), retry=ONCE).request("GET", "/x")


def test_the_environments_ca_bundle_is_used_where_the_connection_has_none(
    tls_server: ScriptedServer, connect: Connect, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert connect(tls_server.url).request("GET", "/x").body == b"there"


def test_verification_is_off_only_where_the_connection_says_so(
    tls_server: ScriptedServer, connect: Connect, other_certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other_certificate))
    with pytest.warns(match="Unverified HTTPS request"):
        assert connect(tls_server.url, verify=False).request("GET", "/x").body == b"there"


def test_a_ca_bundle_that_is_not_there_is_a_configuration_error(
    tls_server: ScriptedServer, connect: Connect, tmp_path: Path, sleeps: list[float]
) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(MakiniConfigurationError, match="'verify'") as caught:
        connect(tls_server.url, verify=str(missing)).request("GET", "/x")
    assert str(missing) in str(caught.value)
    assert sleeps == []


# What the connection doctor shows of it


def test_the_doctor_shows_that_the_certificate_is_verified_and_when_it_ends(
    tls_server: ScriptedServer, certificate: Path
) -> None:
    settings = TransportSettings(verify=str(certificate))
    lookup, tls = look_at_the_network(tls_server.url, settings)
    assert (lookup.level, tls.level) == (Level.OK, Level.WARNING)  # a day is left
    assert "verified; the certificate ends in 23 hours" in tls.text


def test_the_doctor_says_that_a_certificate_is_not_trusted(tls_server: ScriptedServer) -> None:
    _, tls = look_at_the_network(tls_server.url, TransportSettings())
    assert tls.level is Level.FAILURE
    assert "not trusted" in tls.text
    assert "'verify'" in tls.text


def test_the_doctor_warns_of_tls_that_is_not_verified(tls_server: ScriptedServer) -> None:
    _, tls = look_at_the_network(tls_server.url, TransportSettings(verify=False))
    assert tls.level is Level.WARNING
    assert "not verified" in tls.text


def test_the_doctor_knows_the_environments_proxy_beside_the_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    settings = TransportSettings(proxies={"http": "http://another.example:3128"})
    (lookup,) = look_at_the_network("https://api.makini.io", settings)
    assert (lookup.topic, lookup.level) == ("name lookup", Level.NOTE)


def test_the_doctor_leaves_the_name_to_a_proxy(tls_server: ScriptedServer) -> None:
    settings = TransportSettings(proxies={"https": "http://proxy.example:3128"})
    (lookup,) = look_at_the_network("https://api.makini.io", settings)
    assert (lookup.topic, lookup.level) == ("name lookup", Level.NOTE)

"""The HTTP APIs of Azure Key Vault's secrets and of Microsoft Entra's tokens, below their real names.

It is the HTTPS proxy of who uses it and answers for every host itself, with a certificate that the client is
told to trust: so that the Azure SDK runs as it is, with its own challenge, login and TLS. As
https://learn.microsoft.com/en-us/rest/api/keyvault/secrets has it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from secret_services.http_service import Answer, HttpService

VAULT = "my-vault.vault.azure.net"
LOGIN = "login.microsoftonline.com"
TENANT = "11111111-2222-3333-4444-555555555555"
BEARER = "bearer-token-of-entra"


class KeyVault(HttpService):
    """One key vault, and the login to it."""

    uri = "azure-key-vault://my-vault/makini-acme"
    _place = "makini-acme"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.secrets: dict[str, str] = {}
        certificate = _certificate(folder / "azure.pem")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self.environment = {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.port}",
            "REQUESTS_CA_BUNDLE": str(certificate),
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": "22222222-2222-3333-4444-555555555555",
            "AZURE_CLIENT_SECRET": "client-secret-of-the-tests",
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.serving(), pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    def put(self, text: str) -> None:
        self.secrets[self._place] = text

    def text(self) -> str | None:
        return self.secrets.get(self._place)

    def tunnel(self, handler: BaseHTTPRequestHandler) -> None:
        if self.is_down:
            handler.close_connection = True
            return
        handler.send_response(200)
        handler.end_headers()
        handler.request = handler.connection = self._tls.wrap_socket(handler.connection, server_side=True)
        handler.setup()
        # http.client says CONNECT with HTTP/1.0, and what follows is another conversation.
        handler.close_connection = False

    def answer(self, method: str, host: str, path: str, headers: dict[str, str], body: Any) -> Answer:
        if host == LOGIN:
            return self._login(path)
        if host != VAULT:
            return 404, {}, {}
        if headers.get("authorization") != f"Bearer {BEARER}":
            challenge = f'Bearer authorization="https://{LOGIN}/{TENANT}", resource="https://vault.azure.net"'
            return 401, {"WWW-Authenticate": challenge}, _error("Unauthorized")
        name = path.removeprefix("/secrets/").strip("/")
        if method == "PUT":
            if self.is_read_only:
                return 403, {}, _error("Forbidden", {"code": "ForbiddenByRbac"})
            self.secrets[name] = body["value"]
        if name not in self.secrets:
            return 404, {}, _error("SecretNotFound")
        attributes = {"enabled": True, "created": 1, "updated": 1, "recoveryLevel": "Recoverable+Purgeable"}
        bundle = {"value": self.secrets[name], "id": f"https://{VAULT}/secrets/{name}/0123456789abcdef"}
        return 200, {}, bundle | {"attributes": attributes}

    def _login(self, path: str) -> Answer:
        if path.endswith("/token"):
            return 200, {}, {"token_type": "Bearer", "expires_in": 3599, "access_token": BEARER}
        base = f"https://{LOGIN}/{TENANT}"
        return (
            200,
            {},
            {
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "issuer": f"{base}/v2.0",
            },
        )


def _error(code: str, inner: Any = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": f"{code} at the tests' vault", "innererror": inner}}


def _certificate(path: Path) -> Path:
    """A certificate for the names of this module that signs itself, with its key behind it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
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
            x509.SubjectAlternativeName([x509.DNSName(VAULT), x509.DNSName(LOGIN)]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path

"""Who sent a webhook: HMAC-SHA256 over its body, as it came (Makini's documentation of webhooks)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterable
from typing import Final, Literal

Encoding = Literal["base64", "hex"]

ENCODINGS: Final[tuple[Encoding, ...]] = ("base64", "hex")


def sign(secret: bytes, body: bytes, encoding: Encoding = "base64") -> bytes:
    """Return the signature of a body, as it stands in the header."""
    digest = hmac.digest(secret, body, "sha256")
    return b64encode(digest) if encoding == "base64" else digest.hex().encode()


def is_authentic(
    signature: bytes, body: bytes, *, secrets: Iterable[bytes], encoding: Encoding = "base64"
) -> bool:
    """Whether a body was signed with one of the secrets; never with none.

    What came is compared as text and not decoded, so that no odd spelling can reach a decoder.

    :param signature: the header's value
    :param body: exactly as received
    :param secrets: more than one while a secret is being replaced; none of them may be empty
    :param encoding: of the signature
    """
    given = signature.strip()
    if encoding == "hex":
        given = given.lower()
    return any(hmac.compare_digest(sign(secret, body, encoding), given) for secret in secrets if secret)

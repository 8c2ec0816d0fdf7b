"""What can be set, where from, and what is said when it can't be used."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

# Airflow writes its configuration where this points to, at its first import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

from postgresql_server import PostgreSQL
from sqlalchemy import make_url

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.sync.streams import Source
from makini_provider.webhooks.limiter import Limiter
from makini_provider.webhooks.settings import WebhookSettings, read_endpoint
from makini_provider.webhooks.setup import find_endpoint, make_receiver, open_inbox
from makini_provider.webhooks.signature import is_authentic, sign

from .asgi import request
from .events import received

# Signatures


def test_a_signature_is_that_of_the_rfc() -> None:
    """RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert sign(b"Jefe", b"what do ya want for nothing?", "hex").decode() == expected


@pytest.mark.parametrize("secrets", [(), (b"",)])
def test_no_secret_is_never_enough(secrets: tuple[bytes, ...]) -> None:
    assert not is_authentic(sign(b"", b"body"), b"body", secrets=secrets)


# Endpoints


def test_an_endpoint_is_bound_by_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {
        "previous_secret": "old",
        "sources": ["makini_eu", "makini_us@C-1"],
        "domains": "eam, wms",
        "destination": "s3://aws@bucket/makini",
        "event_id": "delivery",
    }
    connection = {"conn_type": "generic", "password": "new", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT", json.dumps(connection))
    endpoint = find_endpoint("plant")
    assert endpoint.secrets == (b"new", b"old")
    assert endpoint.sources == (Source("makini_eu"), Source("makini_us", "C-1"))
    assert endpoint.domains == ("eam", "wms")
    assert endpoint.destination == "s3://aws@bucket/makini"
    assert (endpoint.header, endpoint.encoding, endpoint.event_id) == (
        "x-webhook-signature",
        "base64",
        "delivery",
    )
    assert "new" not in repr(endpoint)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("{", "extra must be a JSON object"),
        ({"previous_secrets": "x"}, "'previous_secrets' is not known. Did you mean 'previous_secret'"),
        ({"sources": {"a": 1}}, "'sources' must be a list of names"),
        ({"domains": ["crm"]}, "'domains' is 'crm'. There are: eam, erp"),
        ({"encoding": "rot13"}, "'encoding' is 'rot13'. Use one of base64, hex"),
        ({"header": "a b"}, "'header' is no name"),
        ({"destination": "/data"}, "For this folder write 'file:///data'"),
        ({"previous_secret": ["s3cret"]}, "'previous_secret' must be text"),
    ],
)
def test_what_binds_an_endpoint_is_checked(extra: Any, says: str) -> None:
    with pytest.raises(MakiniConfigurationError) as caught:
        read_endpoint("plant", password="whsec", extra=extra)
    assert str(caught.value).startswith("connection 'makini_webhook_plant': ")
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_endpoint_without_a_secret_or_a_connection_is_an_error() -> None:
    with pytest.raises(MakiniConfigurationError, match="there is no secret"):
        read_endpoint("plant", password="")
    with pytest.raises(MakiniConfigurationError, match=r"AIRFLOW_CONN_MAKINI_WEBHOOK_NOWHERE.*stands alone"):
        find_endpoint("nowhere")


# The environment


def test_every_setting_has_a_default(tmp_path: Path) -> None:
    settings = WebhookSettings.from_environment({"AIRFLOW_HOME": str(tmp_path)})
    assert settings.endpoints == ()
    assert settings.inbox == f"sqlite:///{tmp_path}/makini-inbox.db"
    assert settings.max_bytes == 1024 * 1024
    assert not settings.plugin


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAKINI_WEBHOOK_ENDPOINTS", "plant,../etc"),
        ("MAKINI_WEBHOOK_MAX_BYTES", "-1"),
        ("MAKINI_WEBHOOK_BODY_SECONDS", "nan"),
        ("MAKINI_WEBHOOK_PLUGIN", "perhaps"),
    ],
)
def test_a_setting_that_can_not_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=name):
        WebhookSettings.from_environment({name: value})


# The inbox


def test_the_inbox_may_be_an_airflow_connection(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(postgresql.new_database())
    connections = {
        "postgres": {
            "conn_type": "postgres",
            "host": url.query["host"],
            "login": "postgres",
            "schema": "postgres",
            "extra": {"options": url.query["options"], "cursor": "dictcursor"},
        },
        "sqlite": {"conn_type": "sqlite", "host": f"{tmp_path}/here/inbox.db"},
    }
    for kind, connection in connections.items():
        monkeypatch.setenv("AIRFLOW_CONN_INBOX", json.dumps(connection))
        inbox = open_inbox(WebhookSettings.from_environment({"MAKINI_WEBHOOK_INBOX": "inbox"}))
        assert inbox.embedded == (kind == "sqlite")
        assert inbox.put(received())
        inbox.close()


def test_an_inbox_that_is_named_is_never_replaced_by_another() -> None:
    with pytest.raises(MakiniConfigurationError, match=r"'nowhere'.*MAKINI_WEBHOOK_INBOX"):
        open_inbox(WebhookSettings.from_environment({"MAKINI_WEBHOOK_INBOX": "nowhere"}))


# The application


def test_the_application_is_made_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKINI_WEBHOOK_ENDPOINTS", "plant")
    monkeypatch.setenv("MAKINI_WEBHOOK_INBOX", f"sqlite:///{tmp_path}/inbox.db")
    monkeypatch.setenv("AIRFLOW_CONN_MAKINI_WEBHOOK_PLANT", '{"conn_type": "generic", "password": "s"}')
    signature = [(b"x-webhook-signature", sign(b"s", b"{}"))]
    answer = asyncio.run(request(make_receiver(), headers=signature, body=b"{}"))
    assert answer is not None
    assert answer.status == 200


# The limiter


def test_so_many_requests_a_second_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("makini_provider.webhooks.limiter._SECONDS_HELD", 0.0)
    limiter = Limiter(5, clock=lambda: now[0])

    async def admitted(requests: int) -> int:
        return sum([await limiter.admit() for _ in range(requests)])

    assert asyncio.run(admitted(20)) == 5
    now[0] += 0.4
    assert asyncio.run(admitted(20)) == 2
    now[0] += 100
    assert asyncio.run(admitted(20)) == 5


def test_who_is_sent_away_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("makini_provider.webhooks.limiter._SECONDS_HELD", 0.2)
    limiter = Limiter(1, clock=lambda: 0.0)

    async def flood() -> list[bool]:
        return list(await asyncio.gather(*(limiter.admit() for _ in range(50))))

    started = time.monotonic()
    assert sum(asyncio.run(flood())) == 1
    assert time.monotonic() - started >= 0.2

"""What the receiver answers, and what it keeps."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from makini_provider.api.errors import MakiniConfigurationError, MakiniInboxError
from makini_provider.webhooks import receiver as receiver_module
from makini_provider.webhooks.inbox import Inbox
from makini_provider.webhooks.settings import Endpoint, read_endpoint
from makini_provider.webhooks.setup import find_endpoint
from makini_provider.webhooks.signature import sign

from .asgi import Answer, alive, request
from .events import claim
from .rig import ALLOWED, BODY, SECRET, Rig, signed

# What is authentic


def test_a_signed_webhook_is_kept_and_answered_200(rig: Rig) -> None:
    answer = rig(headers=signed(BODY), body=BODY)
    assert answer.status == 200
    (event,) = claim(rig.inbox)
    assert (event.endpoint, event.type, event.event_id, event.payload) == (
        "plant",
        "assets.updated",
        None,
        BODY,
    )


def test_a_body_in_pieces_is_one_body(rig: Rig) -> None:
    assert rig(headers=signed(BODY), body=[BODY[:10], b"", BODY[10:]]).status == 200
    assert rig.kept() == [BODY]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"null",
        b'{"event": 7}',
        b'{"event": "\\ud800"}',
        b"\0" * 10,
    ],
    ids=["empty", "not text", "deep list", "deep object", "null", "odd type", "half a character", "NULs"],
)
def test_what_is_authentic_is_kept_also_when_it_makes_no_sense(rig: Rig, body: bytes) -> None:
    assert rig(headers=signed(body), body=body).status == 200
    assert rig.kept() == [body]


@pytest.mark.parametrize(
    ("content", "event_id"),
    [
        ({"event": "x", "event_id": "E-1"}, "E-1"),
        ({"event": "x", "eventId": 17}, "17"),
        ({"event": "x", "id": "of what it is about"}, None),
        ({"event": "x", "event_id": {"not": "text"}}, None),
    ],
)
def test_an_event_id_is_taken_only_from_where_it_can_be_nothing_else(
    rig: Rig, content: dict[str, Any], event_id: str | None
) -> None:
    body = json.dumps(content).encode()
    rig(headers=signed(body), body=body)
    assert claim(rig.inbox)[0].event_id == event_id


def test_a_replayed_webhook_is_answered_200_and_kept_once(rig: Rig) -> None:
    for _ in range(3):
        assert rig(headers=signed(BODY), body=BODY).status == 200
        rig.again()
    assert rig.kept() == [BODY]


def test_both_secrets_count_while_one_is_being_replaced(rig: Rig) -> None:
    rig.endpoints["plant"] = read_endpoint("plant", password="new", extra={"previous_secret": "old"})
    statuses = []
    for secret in (b"new", b"old", SECRET):
        statuses.append(rig(headers=signed(BODY, secret), body=BODY).status)
        rig.again()
    assert statuses == [200, 200, 401]


def test_header_and_encoding_are_settings(rig: Rig) -> None:
    extra = {"header": "X-Signature", "encoding": "hex"}
    rig.endpoints["plant"] = read_endpoint("plant", password="s", extra=extra)
    value = sign(b"s", BODY, "hex")
    assert rig(headers=[(b"x-signature", value.upper())], body=BODY).status == 200
    rig.again()
    assert rig(headers=signed(BODY, b"s"), body=BODY).status == 401


# What is not


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-webhook-signature", b"")],
        [(b"x-webhook-signature", b"not base64!")],
        [(b"x-webhook-signature", b"\xff\x00")],
        [(b"x-webhook-signature", b"A" * 60_000)],
        signed(BODY, b"other"),
        signed(BODY + b" "),
        signed(BODY, b""),
        signed(BODY) * 2,
        [(b"x-webhook-signature", signed(BODY)[0][1].rstrip(b"="))],
    ],
)
def test_what_is_not_signed_is_refused_and_leaves_nothing(
    rig: Rig, headers: list[tuple[bytes, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "makini_provider")
    assert rig(headers=headers, body=BODY).status == 401
    assert rig.inbox.counts().waiting == 0
    assert "A-1" not in caplog.text


@pytest.mark.parametrize(
    "name", ["nowhere", "open", "..", "plant%00", "é", "x" * 10_000, "", "plant/", "a/b"]
)
def test_an_endpoint_without_a_secret_is_closed_and_looks_like_any_other(rig: Rig, name: str) -> None:
    for secret in (b"", b"None", SECRET):
        answer = rig(path=f"/makini/webhooks/{name}", headers=signed(BODY, secret), body=BODY)
        assert (answer.status, answer.body) == (401, b"")
        rig.again()
    assert set(rig.looked_up) == {"plant", "open"}


def test_a_flood_of_forgeries_is_one_line_in_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def flood() -> None:
        async with alive(rig.receiver):
            for _ in range(300):
                await request(rig.receiver, body=BODY)

    asyncio.run(flood())
    assert caplog.text.count("a request was refused: signature") == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"])
def test_other_methods_are_not_allowed(rig: Rig, method: str) -> None:
    answer = rig(method, headers=signed(BODY), body=BODY)
    assert (answer.status, answer.headers[b"allow"]) == (405, b"POST")
    rig.again()
    if method not in ("GET", "HEAD"):
        assert rig(method, "/makini/health").headers[b"allow"] == b"GET, HEAD"


@pytest.mark.parametrize(
    "path",
    ["/", "/makini", "/docs", "/openapi.json", "/makini/docs", "/makini/webhooks", "/webhooks/plant"],
)
def test_there_is_nothing_else(rig: Rig, path: str) -> None:
    assert rig("GET", path).status == 404


def test_a_body_that_is_too_long_is_refused_with_no_more_memory_than_allowed(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(max_bytes=1_000)
    body = b"x" * 1_001
    for sent in ([body], [b"x"] * 1_001, [b"x" * 400] * 500):
        whole = b"".join(sent)
        assert rig(headers=signed(whole), body=sent).status == 413
        rig.again()
    stated = [(b"content-length", b"1001")]
    assert rig(headers=[*stated, (b"expect", b"100-continue")], body=b"").status == 413
    rig.again()
    assert rig(headers=signed(b"x" * 1_000), body=b"x" * 1_000).status == 200


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"", b"0x10", b"\xef\xbc\x91"])
def test_a_length_that_is_none_is_refused(rig: Rig, length: bytes) -> None:
    assert rig(headers=[(b"content-length", length)], body=BODY).status == 400


def test_a_body_that_takes_too_long_is_refused(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(body_seconds=0.1)
    assert rig(headers=signed(BODY), body=[BODY[:5], BODY[5:]], pause=0.08).status == 408
    assert rig.inbox.counts().waiting == 0


def test_who_hangs_up_is_not_kept(rig: Rig) -> None:
    async def run() -> object:
        async with alive(rig.receiver):
            return await request(rig.receiver, headers=signed(BODY), body=BODY, hangs_up=True)

    assert asyncio.run(run()) is None
    assert rig.inbox.counts().waiting == 0


def test_bodies_that_are_coming_in_share_a_bounded_memory(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "BODIES_IN_MEMORY", 2)
    rig = make_rig(max_bytes=100, body_seconds=5)

    async def run() -> list[int]:
        async with alive(rig.receiver):
            slow = [b"x" * 60, b"x"]
            answers = await asyncio.gather(
                *(request(rig.receiver, body=slow, pause=0.1) for _ in range(4)),
            )
            last = await request(rig.receiver, body=b"x" * 100)
            return [answer.status for answer in (*answers, last) if answer]

    statuses = asyncio.run(run())
    assert sorted(statuses[:4]) == [401, 401, 401, 503]
    assert statuses[4] == 401


# Storage


def test_a_database_that_is_down_is_answered_503_until_it_is_back(rig: Rig) -> None:
    rig.opening = [MakiniInboxError("down")]

    async def run() -> list[Answer | None]:
        async with alive(rig.receiver):
            first = await request(rig.receiver, headers=signed(BODY), body=BODY)
            rig.opening.clear()
            return [first, await request(rig.receiver, headers=signed(BODY), body=BODY)]

    first, second = asyncio.run(run())
    assert first is not None
    assert second is not None
    assert (first.status, first.headers[b"retry-after"], second.status) == (503, b"30", 200)
    assert rig.kept() == [BODY]


def test_a_database_that_hangs_is_answered_503_before_makini_gives_up(rig: Rig) -> None:
    rig.receiver._intake._seconds = 0.3

    async def run() -> Answer | None:
        async with alive(rig.receiver):
            with rig.inbox._database._engine.begin():  # SQLite: nobody else can write
                return await request(rig.receiver, headers=signed(BODY), body=BODY)

    answer = asyncio.run(run())
    assert answer is not None
    assert answer.status == 503


def test_an_error_that_nobody_expected_is_503_and_no_stack_trace(rig: Rig) -> None:
    rig.opening = [RuntimeError("boom")]
    rig.receiver._started = True

    async def run() -> Answer | None:
        return await request(rig.receiver, headers=signed(BODY), body=BODY)

    answer = asyncio.run(run())
    assert answer is not None
    assert (answer.status, answer.body) == (503, b"")


def test_a_receiver_that_can_not_work_as_set_up_does_not_start(rig: Rig) -> None:
    rig.opening = [MakiniConfigurationError("the inbox can't be there.")]

    async def run() -> list[dict[str, Any]]:
        async with alive(rig.receiver) as said:
            return said

    (failed,) = asyncio.run(run())
    assert failed == {"type": "lifespan.startup.failed", "message": "the inbox can't be there."}


def test_many_at_once_share_commits(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    put_all = Inbox.put_all

    def counting(inbox: Inbox, received: Any) -> list[bool]:
        commits.append(len(received))
        return put_all(inbox, received)

    monkeypatch.setattr(Inbox, "put_all", counting)

    async def run() -> list[int]:
        async with alive(rig.receiver):
            bodies = [b'{"event": "e", "body": [%d]}' % number for number in range(150)]
            answers = await asyncio.gather(
                *(request(rig.receiver, headers=signed(b), body=b) for b in bodies)
            )
            return [answer.status for answer in answers if answer]

    assert asyncio.run(run()) == [200] * 150
    assert sum(commits) == 150
    assert len(commits) < 15
    assert rig.inbox.counts().waiting == 150


# What endpoints are bound to


def test_endpoints_are_not_looked_up_for_a_request(rig: Rig) -> None:
    async def run() -> None:
        async with alive(rig.receiver):
            for name in ("plant", "open", "nowhere") * 10:
                await request(rig.receiver, path=f"/makini/webhooks/{name}", body=BODY)

    asyncio.run(run())
    assert sorted(rig.looked_up) == ["open", "plant"]


def test_a_new_secret_counts_when_the_old_look_up_has_aged(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(cache_seconds=0.05)

    async def run() -> list[int]:
        statuses = []
        async with alive(rig.receiver):
            for secret in ("new", None):
                rig.endpoints["plant"] = (
                    read_endpoint("plant", password=secret) if secret else MakiniConfigurationError("gone")
                )
                await asyncio.sleep(0.06)
                for signer in (SECRET, b"new"):
                    answer = await request(rig.receiver, headers=signed(BODY, signer), body=BODY)
                    statuses.append(answer.status if answer else 0)
        return statuses

    assert asyncio.run(run()) == [401, 200, 401, 401]


def test_a_busy_receiver_does_not_wait_for_look_ups(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(cache_seconds=1.0)

    def slow(name: str) -> Endpoint:
        time.sleep(0.2)
        return find(name)

    find, rig._find = rig._find, slow  # type: ignore[method-assign]
    rig.again()

    async def run() -> float:
        waited = []
        async with alive(rig.receiver):
            ends = time.monotonic() + 2.5
            while time.monotonic() < ends:
                began = time.monotonic()
                answer = await request(rig.receiver, headers=signed(BODY), body=BODY)
                waited.append(time.monotonic() - began)
                assert answer is not None
                assert answer.status == 200
                await asyncio.sleep(0.05)
        return max(waited)

    assert asyncio.run(run()) < 0.35, "a look-up of both takes 0.4"
    assert rig.looked_up.count("plant") >= 3


def test_a_secrets_backend_that_fails_leaves_what_was_known(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(cache_seconds=0.01)

    async def run() -> Answer | None:
        async with alive(rig.receiver):
            rig.endpoints["plant"] = OSError("vault is sealed")
            await asyncio.sleep(0.02)
            return await request(rig.receiver, headers=signed(BODY), body=BODY)

    answer = asyncio.run(run())
    assert rig.looked_up.count("plant") == 2
    assert answer is not None
    assert answer.status == 200


def test_a_connection_that_is_not_found_is_closed_and_nothing_is_lost(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow says of a secrets backend that fails what it says of a connection that was removed."""

    class Backend:
        sealed = False

        def get_connection(self, conn_id: str) -> Connection:
            if self.sealed:
                raise OSError("vault is sealed")
            return Connection(conn_id=conn_id, conn_type="http", password=SECRET.decode())

    backend = Backend()
    monkeypatch.setattr(
        "airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded", lambda: [backend]
    )
    rig = make_rig(cache_seconds=0.01)
    monkeypatch.setattr(rig, "_find", find_endpoint)
    rig.again()

    async def run() -> list[int]:
        statuses = []
        async with alive(rig.receiver):
            for backend.sealed in (False, True, False):
                await asyncio.sleep(0.02)
                answer = await request(rig.receiver, headers=signed(BODY), body=BODY)
                statuses.append(answer.status if answer else 0)
        return statuses

    assert asyncio.run(run()) == [200, 503, 200]


def test_an_endpoint_that_could_never_be_looked_up_is_503(rig: Rig) -> None:
    rig.endpoints["plant"] = OSError("vault is sealed")
    assert rig(headers=signed(BODY), body=BODY).status == 503


# Health and numbers


def test_health_tells_numbers_and_no_names(rig: Rig) -> None:
    async def run() -> dict[str, Any]:
        async with alive(rig.receiver):
            await request(rig.receiver, headers=signed(BODY), body=BODY)
            await request(rig.receiver, headers=signed(BODY), body=BODY)
            await request(rig.receiver, body=BODY)
            answer = await request(rig.receiver, "GET", "/makini/health")
            assert answer is not None
            assert answer.status == 200
            told: dict[str, Any] = json.loads(answer.body)
            return told

    told = asyncio.run(run())
    assert told.pop("oldest_seconds") < 60
    assert told == {
        "status": "ok",
        "waiting": 1,
        "claimed": 0,
        "dead": 0,
        "received": 2,
        "coalesced": 1,
        "unreadable": 0,
        "unavailable": 0,
        "rejected": {"signature": 1},
    }


def test_health_is_503_without_the_database(rig: Rig) -> None:
    rig.opening = [MakiniInboxError("down")]
    answer = rig("GET", "/makini/health")
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "unavailable")


def test_what_was_counted_is_kept_with_the_inbox(rig: Rig) -> None:
    async def run() -> None:
        async with alive(rig.receiver):
            await request(rig.receiver, headers=signed(BODY), body=BODY)
            for _ in range(3):
                await request(rig.receiver, body=BODY)

    asyncio.run(run())
    rig.again()
    asyncio.run(run())
    tallies = {(tally.endpoint, tally.what): tally.number for tally in rig.inbox.tallies(timedelta(hours=1))}
    assert tallies == {("plant", "received"): 2, ("plant", "coalesced"): 1, ("", "rejected.signature"): 6}


# Mounted


@pytest.mark.parametrize(
    ("prefix", "root_path", "path"),
    [
        ("/makini", "", "/makini/webhooks/plant"),
        ("/makini", "/behind/proxy", "/behind/proxy/makini/webhooks/plant"),
        ("", "/makini", "/makini/webhooks/plant"),
        ("", "/airflow/makini", "/airflow/makini/webhooks/plant"),
    ],
)
def test_paths_are_the_same_alone_and_mounted(rig: Rig, prefix: str, root_path: str, path: str) -> None:
    rig.receiver._prefix = prefix
    assert rig(path=path, root_path=root_path, headers=signed(BODY), body=BODY).status == 200


# Anything at all


_header = st.tuples(
    st.sampled_from([b"x-webhook-signature", b"content-length", b"expect", b"content-encoding", b"x"]),
    st.one_of(st.binary(max_size=60), st.sampled_from([b"100-continue", b"44", b"gzip", b"9" * 400])),
)


@given(
    method=st.sampled_from(["POST", "GET", "PUT", "\u00e9"]),
    name=st.one_of(
        st.sampled_from(["plant", "open"]), st.text(max_size=8).filter(lambda t: "/" not in t and t)
    ),
    headers=st.lists(_header, max_size=5),
    body=st.lists(st.binary(max_size=300), max_size=4),
    sign_it=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_request_has_one_of_the_answers(
    fuzzed: Rig,
    method: str,
    name: str,
    headers: list[tuple[bytes, bytes]],
    body: list[bytes],
    sign_it: bool,
) -> None:
    whole = b"".join(body)
    if sign_it:
        headers = [h for h in headers if h[0] != b"x-webhook-signature"] + signed(whole)
    before = fuzzed.inbox.counts().waiting
    answer = fuzzed(method, f"/makini/webhooks/{name}", headers=headers, body=body or [b""])
    fuzzed.again()
    assert answer.status in ALLOWED
    if answer.status == 200:
        assert sign_it
        assert name == "plant"
    else:
        assert fuzzed.inbox.counts().waiting == before


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(f"sqlite:///{tmp_path_factory.mktemp('fuzz')}/inbox.db")
    yield rig
    rig.inbox.close()

"""What an inbox promises, on both databases."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from postgresql_server import PostgreSQL, postgresql_server
from sqlalchemy import create_engine, text

from makini_provider.api.errors import LeaseLostError, MakiniConfigurationError, MakiniInboxError
from makini_provider.webhooks.inbox import FIRST_PAUSE, LONGEST_PAUSE, Counts, Inbox

from .events import LEASE, claim, let_time_pass, received

OpenInbox = Callable[..., Inbox]

# Taking in


def test_an_event_comes_out_as_it_went_in(inbox: Inbox) -> None:
    at = datetime(2026, 8, 1, 12, 0, 0, 123456, tzinfo=UTC)
    payload = b"\xff\x00 not even text"
    assert inbox.put(received(payload, type="assets.updated", event_id="E-1", received_at=at))
    (event,) = claim(inbox)
    assert (event.endpoint, event.type, event.event_id) == ("plant", "assets.updated", "E-1")
    assert (event.payload, event.received_at, event.attempts) == (payload, at, 1)


def test_a_known_event_id_is_not_taken_in_again_whatever_became_of_it(inbox: Inbox) -> None:
    def again() -> bool:
        return inbox.put(received(b"other content", event_id="E-1"))

    assert inbox.put(received(event_id="E-1"))
    assert not again()
    (event,) = claim(inbox)
    assert not again()
    inbox.dead(event, "no")
    assert not again()
    inbox.replay()
    (event,) = claim(inbox)
    inbox.done(event)
    assert not again()


def test_an_event_id_belongs_to_its_endpoint(inbox: Inbox) -> None:
    assert inbox.put(received(event_id="E-1", endpoint="plant"))
    assert inbox.put(received(event_id="E-1", endpoint="other"))


def test_equal_content_is_coalesced_while_it_waits(inbox: Inbox) -> None:
    assert inbox.put(received(b"1"))
    assert not inbox.put(received(b"1"))
    assert inbox.put(received(b"2"))
    assert inbox.put(received(b"1", endpoint="other"))


def test_equal_content_is_taken_in_once_the_first_is_claimed(inbox: Inbox) -> None:
    inbox.put(received())
    (event,) = claim(inbox)
    assert inbox.put(received())
    assert not inbox.put(received())
    inbox.done(event)
    (second,) = claim(inbox)
    inbox.done(second)
    assert inbox.put(received())


def test_a_returned_event_does_not_collide_with_its_equal(inbox: Inbox, url: str) -> None:
    inbox.put(received())
    (event,) = claim(inbox)
    inbox.put(received())
    inbox.retry(event, "busy", delay=timedelta())
    assert {claimed.attempts for claimed in claim(inbox)} == {1, 2}


def test_many_are_taken_in_together(inbox: Inbox) -> None:
    many = [
        received(b"1"),
        received(event_id="E-1"),
        received(b"1"),
        received(event_id="E-1"),
        received(b"2"),
    ]
    assert inbox.put_all(many) == [True, True, False, False, True]
    assert inbox.counts().waiting == 3


@pytest.mark.parametrize("odd", ["", "x" * 100_000, "a\0b", "\ud800", "é😀", "sha256:" + "0" * 64])
def test_any_text_can_be_an_event_id_and_none_passes_for_another(inbox: Inbox, odd: str) -> None:
    assert inbox.put(received(event_id=odd, type=odd))
    assert not inbox.put(received(event_id=odd))
    assert inbox.put(received(event_id=odd + "."))
    assert inbox.put(received(event_id=odd.replace("\0", "?").replace("\ud800", "?") + "?"))


# Atomic with the claim


@pytest.mark.parametrize(("ending", "taken_in"), [("COMMIT", True), ("ROLLBACK", False)])
def test_an_equal_event_waits_for_a_claim_under_way(
    inbox: Inbox, url: str, ending: str, taken_in: bool
) -> None:
    """Whether it adds something is decided by what the claim comes to."""
    inbox.put(received())
    claiming = "UPDATE makini_inbox SET unclaimed_digest = NULL"
    if inbox.embedded:
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
    else:
        connection = psycopg.connect(url)
    connection.execute(claiming)
    with ThreadPoolExecutor() as pool:
        put = pool.submit(inbox.put, received())
        with pytest.raises(TimeoutError):
            put.result(timeout=0.3)
        connection.execute(ending)
        assert put.result(timeout=30) is taken_in
    connection.close()


def test_receivers_and_workers_at_once_lose_and_repeat_nothing(open_inbox: OpenInbox, url: str) -> None:
    inboxes = [open_inbox(url) for _ in range(3)]
    ids = [f"E-{number}" for number in range(150)]
    done: list[str] = []
    over = threading.Event()

    def receive(offset: int) -> None:
        for number in range(0, len(ids), 10):
            first = (number + offset * 50) % len(ids)
            batch = [received(event_id=event_id) for event_id in ids[first : first + 10]]
            inboxes[offset].put_all(batch if offset % 2 else batch[::-1])

    def work(number: int) -> None:
        tried = 0
        while not (over.is_set() and not inboxes[number].counts().waiting):
            for event in inboxes[number].claim(f"w{number}", limit=7, lease=LEASE):
                tried += 1
                if tried % 5 == 0:
                    inboxes[number].retry(event, "busy", delay=timedelta())
                else:
                    inboxes[number].done(event)
                    done.append(event.event_id or "")

    with ThreadPoolExecutor() as pool:
        workers = [pool.submit(work, number) for number in range(3)]
        receivers = [pool.submit(receive, offset) for offset in range(3)]
        for receiver in receivers:
            receiver.result(timeout=60)
        over.set()
        for worker in workers:
            worker.result(timeout=60)
    assert sorted(done) == sorted(ids)
    assert inboxes[0].counts() == Counts(waiting=0, claimed=0, dead=0, done=len(ids), oldest=None)


# Claims and leases


def test_events_are_claimed_in_the_order_of_receipt(inbox: Inbox) -> None:
    for number in range(5):
        inbox.put(received(b"%d" % number))
    assert [event.payload for event in claim(inbox, 3)] == [b"0", b"1", b"2"]
    assert [event.payload for event in claim(inbox)] == [b"3", b"4"]


def test_events_that_came_in_together_are_in_order_too(inbox: Inbox) -> None:
    bodies = [b"%d" % (number * 7 % 20) for number in range(20)]
    inbox.put_all([received(body, event_id=body.decode()) for body in bodies])
    assert [event.payload for event in claim(inbox)] == bodies


def test_a_claimed_event_is_nobody_elses_until_its_lease_has_passed(inbox: Inbox, url: str) -> None:
    inbox.put(received())
    claim(inbox)
    assert claim(inbox) == []
    assert not inbox.waiting()
    let_time_pass(url)
    assert inbox.waiting()
    (event,) = claim(inbox)
    assert event.attempts == 2


@pytest.mark.parametrize("end", [Inbox.done, lambda i, e: i.retry(e, "x"), lambda i, e: i.dead(e, "x")])
def test_a_late_worker_can_not_end_what_another_has_claimed(
    inbox: Inbox, url: str, end: Callable[..., object]
) -> None:
    inbox.put(received())
    (late,) = claim(inbox)
    let_time_pass(url)
    (current,) = claim(inbox)
    with pytest.raises(LeaseLostError, match="longer leases"):
        end(inbox, late)
    inbox.done(current)
    with pytest.raises(LeaseLostError):
        end(inbox, current)
    assert inbox.counts().done == 1


def test_a_late_worker_may_end_what_nobody_else_has_claimed(inbox: Inbox, url: str) -> None:
    inbox.put(received())
    (event,) = claim(inbox)
    let_time_pass(url)
    inbox.done(event)
    assert inbox.counts().done == 1


# Attempts


def test_a_failed_event_pauses_longer_each_time(inbox: Inbox, url: str) -> None:
    inbox.put(received())
    pauses = []
    for _ in range(9):
        (event,) = claim(inbox)
        assert inbox.retry(event, "busy")
        assert not inbox.waiting()
        pauses.append(_due_in(url))
        let_time_pass(url)
    expected = [min(FIRST_PAUSE * 2**number, LONGEST_PAUSE).total_seconds() for number in range(9)]
    assert pauses == pytest.approx(expected, abs=15)


def test_the_last_attempt_leaves_a_dead_letter(open_inbox: OpenInbox, url: str) -> None:
    inbox = open_inbox(url, max_attempts=2)
    inbox.put(received(type="assets.updated"))
    (event,) = claim(inbox)
    assert inbox.retry(event, "first", delay=timedelta())
    (event,) = claim(inbox)
    assert not inbox.retry(event, "last\0" + "x" * 5_000, delay=timedelta())
    (letter,) = inbox.dead_letters()
    assert (letter.id, letter.type, letter.attempts) == (event.id, "assets.updated", 2)
    assert letter.error.startswith("last?xxx")
    assert len(letter.error) == 2_000


def test_an_event_whose_workers_keep_dying_is_dead(open_inbox: OpenInbox, url: str) -> None:
    inbox = open_inbox(url, max_attempts=2)
    inbox.put(received())
    for _ in range(2):
        assert len(claim(inbox)) == 1
        let_time_pass(url)
    assert claim(inbox) == []
    (letter,) = inbox.dead_letters()
    assert letter.error == "2 workers have begun on it and not come back"


def test_an_event_that_kills_its_workers_does_not_take_the_others_with_it(
    open_inbox: OpenInbox, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = open_inbox(url, max_attempts=5)
    poison = b'{"poison": 1}'
    inbox.put_all([received(poison if n == 3 else b"%d" % n) for n in range(60)])
    sizes: list[int] = []
    while events := claim(inbox, 64):
        if poison in (event.payload for event in events):
            sizes.append(len(events))
            let_time_pass(url)  # the worker has died of it
            continue
        for event in events:
            inbox.done(event)
    (letter,) = inbox.dead_letters()
    assert letter.payload == poison
    assert letter.id in caplog.text
    assert inbox.counts().done == 59
    assert sizes == [60, 16, 4, 1, 1]


def test_replayed_events_have_all_their_attempts_again(open_inbox: OpenInbox, url: str) -> None:
    inbox = open_inbox(url, max_attempts=1)
    for endpoint in ("plant", "other", "third"):
        inbox.put(received(endpoint=endpoint))
    for event in claim(inbox):
        inbox.retry(event, "busy")
    (other,) = inbox.dead_letters("other")
    assert inbox.replay(endpoint="plant") == 1
    assert inbox.replay([other.id, "no such event"]) == 1
    assert inbox.counts().dead == 1
    replayed = claim(inbox)
    assert {(event.endpoint, event.attempts) for event in replayed} == {("plant", 1), ("other", 1)}


# Looking, and forgetting


def test_counts_are_by_state_and_endpoint(inbox: Inbox) -> None:
    for number in range(4):
        inbox.put(received(b"%d" % number, received_at=datetime.now(UTC) - timedelta(hours=4 - number)))
    inbox.put(received(endpoint="other"))
    first, second, _ = claim(inbox, 3)
    inbox.done(first)
    inbox.dead(second, "no")
    counts = inbox.counts("plant")
    assert (counts.waiting, counts.claimed, counts.dead, counts.done) == (1, 1, 1, 1)
    assert counts.oldest is not None
    assert counts.oldest.total_seconds() == pytest.approx(2 * 3600, abs=60)
    assert inbox.counts("other").waiting == 1
    assert inbox.counts("third") == Counts(waiting=0, claimed=0, dead=0, done=0, oldest=None)


def test_only_what_is_done_is_forgotten_unless_asked(inbox: Inbox) -> None:
    for number in range(3):
        inbox.put(received(event_id=f"E-{number}"))
    first, second, _ = claim(inbox)
    inbox.done(first)
    inbox.dead(second, "no")
    assert inbox.forget(timedelta(days=1)) == 0
    assert inbox.forget(timedelta()) == 1
    assert inbox.put(received(event_id="E-0"))
    assert inbox.forget(timedelta(), states=["dead"]) == 1
    assert (inbox.counts().claimed, inbox.counts().waiting) == (1, 1)


# The database


def test_many_may_make_the_tables_at_once(open_inbox: OpenInbox, url: str) -> None:
    with ThreadPoolExecutor(max_workers=4) as pool:
        inboxes = list(pool.map(lambda _: open_inbox(url), range(4)))
    assert [inbox.put(received()) for inbox in inboxes] == [True, False, False, False]


def test_tables_of_a_newer_release_are_refused(open_inbox: OpenInbox, inbox: Inbox, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE makini_inbox_version SET version = 99"))
    engine.dispose()
    with pytest.raises(MakiniConfigurationError, match=r"version 99.*knows 1 .*newer release"):
        open_inbox(url)


def test_older_tables_are_brought_up_once(
    open_inbox: OpenInbox, inbox: Inbox, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.put(received())
    done: list[str] = []
    monkeypatch.setattr("makini_provider.webhooks.schema.STEPS", [lambda connection: done.append("step")])
    for _ in range(2):
        assert open_inbox(url).counts().waiting == 1
    assert done == ["step"]


def test_what_was_put_survives_a_killed_receiver(open_inbox: OpenInbox, url: str) -> None:
    program = (
        "import os, signal, sys\n"
        "from tests.webhooks.events import received\n"
        "from makini_provider.webhooks.inbox import Inbox\n"
        "inbox = Inbox(sys.argv[1])\n"
        "for number in range(20): inbox.put(received(b'%d' % number))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program, url], timeout=60)
    assert finished.returncode == -signal.SIGKILL
    assert len(claim(open_inbox(url))) == 20


def test_what_was_put_survives_a_killed_postgresql(open_inbox: OpenInbox) -> None:
    with postgresql_server() as server:
        inbox = open_inbox(server.url())
        assert inbox.put(received(event_id="E-1"))
        server.kill()
        with pytest.raises(MakiniInboxError, match="Check that the database is up"):
            inbox.put(received(event_id="E-2"))
        server.start()
        assert not inbox.put(received(event_id="E-1"))
        assert inbox.put(received(event_id="E-2"))


def test_a_server_that_vanishes_with_a_query_is_noticed(
    open_inbox: OpenInbox, postgresql: PostgreSQL
) -> None:
    """No answer and no end of the connection: only probes tell, and the system's begin after two hours."""
    inbox = open_inbox(postgresql.new_database())
    with inbox._database.transaction() as connection:
        told = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    idle, interval, probes = (int(told[f"keepalives_{name}"]) for name in ("idle", "interval", "count"))
    assert idle + interval * probes < 10, "as long as Makini waits for its answer"


def test_a_full_disk_is_an_error_and_not_a_loss(open_inbox: OpenInbox, tmp_path: Path) -> None:
    inbox = open_inbox(f"sqlite:///{tmp_path}/inbox.db")
    assert inbox.put(received(event_id="E-1"))
    with inbox._database._engine.connect() as connection:
        # A limit of SQLite that behaves as a full disk does.
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(MakiniInboxError, match="database or disk is full"):
        inbox.put(received(b"x" * 1_000_000))
    assert inbox.counts().waiting == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://root:s3cret@host/db", r"kind 'mysql'.*PostgreSQL"),
        ("nonsense", r"URL is none.*postgresql://"),
        ("sqlite://", r"in memory.*sqlite:////"),
    ],
)
def test_databases_that_can_not_hold_an_inbox_are_refused(open_inbox: OpenInbox, url: str, says: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=says):
        open_inbox(url)


def test_neither_password_nor_payload_is_in_an_error(
    open_inbox: OpenInbox, postgresql: object, tmp_path: Path
) -> None:
    with pytest.raises(MakiniInboxError) as caught:
        open_inbox(f"postgresql://user:s3cret@/db?host={tmp_path}")
    assert "s3cret" not in f"{caught.value!r} {caught.value}"
    inbox = open_inbox(f"sqlite:///{tmp_path}/inbox.db")
    with inbox._database._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE makini_inbox")
    with pytest.raises(MakiniInboxError) as caught:
        inbox.put(received(b"private"))
    assert not re.search("private|70726976617465", f"{caught.value!r} {caught.value}")
    assert "s3cret" not in repr(inbox)


def _due_in(url: str) -> float:
    engine = create_engine(url)
    with engine.begin() as connection:
        due_at = connection.execute(text("SELECT due_at FROM makini_inbox")).scalar_one()
    engine.dispose()
    if isinstance(due_at, str):
        due_at = datetime.fromisoformat(due_at).replace(tzinfo=UTC)
    seconds: float = (due_at - datetime.now(UTC)).total_seconds()
    return seconds

"""The commands about the inbox: what they print, and what they change."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

# Airflow writes its configuration where this points to, at its first import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))

from makini_provider.webhooks.inbox import Inbox, Received

from .test_landed import Run, run

__all__ = ["run"]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/inbox.db"
    monkeypatch.setenv("MAKINI_WEBHOOK_INBOX", url)
    return url


@pytest.fixture
def inbox(url: str) -> Iterator[Inbox]:
    """Three events, of which one is dead and one is done."""
    inbox = Inbox(url)
    for endpoint in ("plant", "plant", "other"):
        inbox.put(
            Received(
                endpoint=endpoint,
                payload=b'{"n": "\xff"}',
                received_at=datetime.now(UTC),
                type="assets.updated",
                event_id=f"E-{inbox.counts().waiting}",
            )
        )
    first, second = inbox.claim("worker", limit=2, lease=timedelta(minutes=5))
    inbox.dead(first, "no such\nresource")
    inbox.done(second)
    yield inbox
    inbox.close()


def test_status_counts_the_events(run: Run, inbox: Inbox) -> None:
    code, out, _ = run("inbox", "status", "--json")
    told = json.loads(out)
    assert told.pop("oldest_seconds") < 60
    assert (code, told) == (0, {"waiting": 1, "claimed": 0, "dead": 1, "done": 1})
    code, out, _ = run("inbox", "status", "--endpoint", "plant")
    assert out.split() == ["waiting", "0", "claimed", "0", "dead", "1", "done", "1", "oldest", "none"]


def test_dead_lists_what_was_given_up_and_why(run: Run, inbox: Inbox) -> None:
    (letter,) = inbox.dead_letters()
    _, out, _ = run("inbox", "dead")
    assert out.startswith(letter.id)
    assert out.endswith("plant  assets.updated  1 attempts: no such resource\n")
    _, out, _ = run("inbox", "dead", "--json")
    assert json.loads(out)["payload"] == '{"n": "\\xff"}'


@pytest.mark.parametrize("which", [["--all"], ["--endpoint", "plant"], "id"])
def test_replay_lets_dead_events_be_tried_again(run: Run, inbox: Inbox, which: list[str]) -> None:
    chosen = [inbox.dead_letters()[0].id] if which == "id" else which
    assert run("inbox", "replay", *chosen)[:2] == (0, "1 event will be tried again\n")
    assert (inbox.counts().waiting, inbox.counts().dead) == (2, 0)


def test_replay_must_be_told_which(run: Run, inbox: Inbox) -> None:
    code, _, err = run("inbox", "replay")
    assert (code, err) == (2, "nothing says which events. Give their ids, --endpoint <name>, or --all.\n")
    assert inbox.counts().dead == 1


def test_forget_removes_what_is_done_and_dead_ones_only_when_asked(run: Run, inbox: Inbox) -> None:
    assert run("inbox", "forget", "--days", "1")[1] == "removed 0 events\n"
    assert run("inbox", "forget", "--days", "0")[1] == "removed 1 event\n"
    assert run("inbox", "forget", "--days", "0", "--dead")[1] == "removed 1 event\n"
    assert inbox.counts().waiting == 1


def test_an_inbox_that_can_not_be_reached_is_an_error_of_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = run("inbox", "status", "--inbox", f"sqlite:///{tmp_path}/file/inbox.db")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "can't be made" in err

"""A state of Makini's own sync that was asked for beforehand is not asked for again, and covers no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from makini_provider.api.auth import BearerAuth, StaticToken
from makini_provider.api.client import UNTOLD, Integration, MakiniClient
from makini_provider.api.resources import get_resource
from makini_provider.api.transport import Transport
from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.sandbox import Sandbox
from makini_provider.sync.plan import RunInterval, Upstream
from makini_provider.sync.run import StreamSync
from makini_provider.sync.streams import Source, Stream

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
ASKED_AT = NOW - timedelta(minutes=20)
RESOURCE = "eam/work-orders"


def synced(sandbox: Sandbox, folder: Path, upstream: Upstream | None, resource: str = RESOURCE) -> StreamSync:
    transport = Transport(sandbox.url, BearerAuth(StaticToken(sandbox.token), sandbox.url))
    stream = Stream(Source("makini_default"), get_resource(resource), {})
    return StreamSync(
        MakiniClient(transport), FilesDestination(f"file://{folder}"), stream, run_id="run", upstream=upstream
    )


@pytest.fixture
def sandbox() -> Sandbox:
    sandbox = Sandbox(records=60, now=NOW)
    sandbox.store.clock.set(NOW)
    return sandbox


def test_it_is_not_asked_for_again_and_ends_every_window(sandbox: Sandbox, tmp_path: Path) -> None:
    completed = ASKED_AT - timedelta(hours=1)
    with sandbox:
        upstream = Upstream(Integration("done", completed, {}), ASKED_AT)
        receipt = synced(sandbox, tmp_path, upstream).initial(history=timedelta(days=30))
        assert "/api/integrations/current" not in {request["path"] for request in sandbox.requests}
    assert [end for _, end in receipt["windows"]] == [ASKED_AT.isoformat()]
    assert receipt["watermark"] == completed.isoformat()


def test_one_that_tells_nothing_leaves_coverage_to_the_moment_it_was_asked_for(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with sandbox:
        receipt = synced(sandbox, tmp_path, Upstream(UNTOLD, ASKED_AT)).initial(history=timedelta(days=30))
    assert receipt["watermark"] == ASKED_AT.isoformat()


def test_a_run_up_to_this_moment_ends_when_it_was_asked_for(sandbox: Sandbox, tmp_path: Path) -> None:
    with sandbox:
        synced(sandbox, tmp_path, None).initial(history=timedelta(days=30))
        later = Upstream(Integration("done", NOW, {}), NOW + timedelta(minutes=5))
        receipt = synced(sandbox, tmp_path, later).incremental(RunInterval(), lookback=timedelta(hours=1))
    assert receipt["windows"][0][1] == later.asked_at.isoformat()


def test_a_snapshot_still_says_when_it_was_really_read(sandbox: Sandbox, tmp_path: Path) -> None:
    with sandbox:
        sync = synced(sandbox, tmp_path, Upstream(UNTOLD, ASKED_AT), "eam/uom")
        sync.initial(history=None)
        (commit,) = FilesDestination(f"file://{tmp_path}").commits(
            Stream(Source("makini_default"), get_resource("eam/uom"), {})
        )
    assert abs(commit.read_at - NOW) < timedelta(seconds=2)


def test_it_goes_through_json_unharmed() -> None:
    upstream = Upstream(Integration("done", NOW, {}), ASKED_AT, timedelta(seconds=-3.5))
    assert Upstream.from_json(upstream.as_json()) == upstream
    assert Upstream.from_json(Upstream(UNTOLD, ASKED_AT).as_json()) == Upstream(UNTOLD, ASKED_AT)

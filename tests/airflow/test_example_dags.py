"""The example DAGs, run by ``airflow dags test`` against a server that is known by its connection only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_home import AirflowHome, DagRunner, Finished, Run
from landing import Landing, Records, asked_from, between, lists_asked, since, truth, window

from makini_provider.api.resources import get_resource
from makini_provider.sandbox import Sandbox

pytestmark = pytest.mark.airflow

TOKEN = "tok-of-another-server-4711"
REFERENCE = ["eam/sites", "eam/assets"]
SNAPSHOT = ["eam/uom"]
TRANSACTIONS = ["eam/meter-readings", "eam/work-orders", "eam/purchase-orders", "wms/sales-orders"]
RESOURCES = [*REFERENCE, *SNAPSHOT, *TRANSACTIONS]
CHANGING = ["eam/assets", "eam/work-orders", "eam/purchase-orders", "wms/sales-orders"]
DELETED = ["eam/work-orders", "wms/sales-orders"]
HISTORY = timedelta(days=90)


@dataclass(frozen=True)
class Step:
    """One run, and how things stood after it."""

    command: Finished
    run: Run
    began: datetime
    ended: datetime
    truth: dict[str, Records]
    landed: dict[str, Records]
    files: dict[str, list[str]]


@dataclass(frozen=True)
class Story:
    """Initial sync, changes, incremental sync: each by the command that a person types."""

    environment: dict[str, str]
    sandbox: Sandbox
    landing: Landing
    initial: Step
    changed: dict[str, set[str]]
    incremental: Step


def settings(sandbox: Sandbox, landing: Landing) -> dict[str, str]:
    connection = {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token}
    return {
        "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection),
        "MAKINI_RESOURCES": ",".join(RESOURCES),
        "MAKINI_DESTINATION": landing.uri,
    }


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=4711, token=TOKEN, records=200) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def story(airflow_home: AirflowHome, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Story:
    landing = Landing(tmp_path_factory.mktemp("landing"))
    environment = settings(sandbox, landing)

    def step(dag_id: str) -> Step:
        began = datetime.now(UTC)
        command = airflow_home.airflow("dags", "test", dag_id, **environment)
        ended = datetime.now(UTC)
        assert command.code == 0, command.output
        ((run_id, state),) = airflow_home.rows(
            "SELECT run_id, state FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1", dag_id
        )
        return Step(
            command,
            Run(state, airflow_home.tasks(dag_id, run_id), command.output),
            began,
            ended,
            {resource: truth(sandbox, resource) for resource in RESOURCES},
            {resource: landing.records(resource) for resource in RESOURCES},
            {resource: landing.files(resource) for resource in RESOURCES},
        )

    initial = step("makini_initial_sync")
    changed = sandbox.store.change(updates=20, inserts=5, resources=CHANGING)
    gone = sandbox.store.change(deletes=3, resources=DELETED)
    touched = {
        resource: {
            key for by_kind in (changed, gone) for keys in by_kind.get(resource, {}).values() for key in keys
        }
        for resource in RESOURCES
    }
    # The server's clock is known to the second.
    time.sleep(1.1)
    return Story(environment, sandbox, landing, initial, touched, step("makini_incremental_sync"))


@pytest.mark.parametrize("resource", [*REFERENCE, *SNAPSHOT])
def test_the_initial_sync_brings_reference_lists_whole(story: Story, resource: str) -> None:
    assert story.initial.landed[resource] == story.initial.truth[resource]


@pytest.mark.parametrize("resource", TRANSACTIONS)
def test_the_initial_sync_brings_the_transactions_of_the_history(story: Story, resource: str) -> None:
    start, end = window(story.initial.run.receipts[resource])
    assert story.initial.began - HISTORY - timedelta(seconds=2) <= start <= story.initial.ended - HISTORY
    assert end - start == HISTORY
    expected = since(resource, story.initial.truth[resource], start)
    assert story.initial.landed[resource] == expected
    assert 0 < len(expected) < len(story.initial.truth[resource])


@pytest.mark.parametrize("resource", RESOURCES)
def test_after_the_incremental_sync_records_are_as_the_api_has_them(story: Story, resource: str) -> None:
    expected = story.incremental.truth[resource]
    if resource in TRANSACTIONS:
        start, _ = window(story.initial.run.receipts[resource])
        expected = since(resource, expected, start)
    assert story.incremental.landed[resource] == expected


@pytest.mark.parametrize("resource", CHANGING)
def test_the_incremental_sync_brings_what_changed_and_its_lookback_alone(story: Story, resource: str) -> None:
    receipt = story.incremental.run.receipts[resource]
    brought = between(resource, story.incremental.truth[resource], *window(receipt))
    assert story.changed[resource] <= brought.keys()
    assert receipt["records"] == len(brought)


def test_each_connection_and_resource_is_one_task_that_says_so(story: Story) -> None:
    for step in (story.initial, story.incremental):
        assert [task.label for task in step.run.syncs] == [f"makini_default · {r}" for r in RESOURCES]
        assert {(task.state, task.try_number) for task in step.run.tasks} == {("success", 1)}


def test_receipts_tell_counts_files_and_watermark(story: Story) -> None:
    for resource, receipt in story.initial.run.receipts.items():
        assert receipt["stream"] == {
            "conn_id": "makini_default",
            "makini_connection": None,
            "resource": resource,
        }
        assert receipt["records"] == len(story.initial.landed[resource])
        assert receipt["location"] == f"file://{story.landing.stream(resource)}"
        files = [f"{receipt['location']}/{file}" for file in receipt["files"]]
        assert files == [f"{story.landing.uri}/{file}" for file in story.initial.files[resource]]
        assert datetime.fromisoformat(receipt["watermark"]) <= story.initial.ended


def test_receipts_hold_no_record(story: Story) -> None:
    for step in (story.initial, story.incremental):
        for resource, receipt in step.run.receipts.items():
            assert len(json.dumps(receipt)) < 2000
            assert not {key for key in step.landed[resource] if f'"{key}"' in json.dumps(receipt)}


def test_the_watermark_is_the_end_of_makinis_own_sync(story: Story) -> None:
    completed = datetime.fromisoformat(story.sandbox.store.integration["sync_updated_at"])
    for resource in TRANSACTIONS:
        assert datetime.fromisoformat(story.incremental.run.receipts[resource]["watermark"]) == completed


# From here on further runs at the same destination, in the order in which they stand.


def test_a_second_initial_sync_reads_and_changes_nothing(runner: DagRunner, story: Story) -> None:
    before = {resource: story.landing.files(resource) for resource in RESOURCES}
    story.sandbox.forget_requests()
    run = runner.run("makini_initial_sync", story.environment)
    assert run.state == "success"
    assert {(r["records"], r["commits"], len(r["windows"])) for r in run.receipts.values()} == {(0, 0, 0)}
    assert not lists_asked(story.sandbox)
    assert {resource: story.landing.files(resource) for resource in RESOURCES} == before


def test_a_second_incremental_sync_leaves_the_same_records(runner: DagRunner, story: Story) -> None:
    run = runner.run("makini_incremental_sync", story.environment)
    assert run.state == "success"
    assert {r: story.landing.records(r) for r in RESOURCES} == story.incremental.landed


def test_an_old_run_cleared_reads_its_own_interval_and_leaves_the_same_records(
    runner: DagRunner, story: Story
) -> None:
    start = (story.initial.began - timedelta(days=10)).replace(minute=0, second=0, microsecond=0)
    interval = start, start + timedelta(hours=8)
    watermarks = {r: story.landing.state(r).watermark for r in RESOURCES if r not in SNAPSHOT}
    for _ in ("as scheduled", "cleared"):
        story.sandbox.forget_requests()
        run = runner.run("makini_incremental_sync", story.environment, scheduled=interval)
        assert run.state == "success"
        for resource in TRANSACTIONS:
            read = window(run.receipts[resource])
            assert read == (interval[0] - timedelta(hours=1), interval[1])
            assert asked_from(story.sandbox, resource)[0] == read[0]
            expected = between(resource, story.incremental.truth[resource], *read)
            assert run.receipts[resource]["records"] == len(expected)
        assert {r: story.landing.records(r) for r in RESOURCES} == story.incremental.landed
    assert {r: story.landing.state(r).watermark for r in watermarks} == watermarks


def test_a_longer_history_fetches_only_what_it_adds(runner: DagRunner, story: Story) -> None:
    story.sandbox.forget_requests()
    run = runner.run("makini_initial_sync", story.environment | {"MAKINI_HISTORY_DAYS": "110"})
    assert run.state == "success"
    assert lists_asked(story.sandbox) == set(TRANSACTIONS)
    for resource in TRANSACTIONS:
        old_start, _ = window(story.initial.run.receipts[resource])
        start, end = window(run.receipts[resource])
        assert end == old_start
        assert end - start == pytest.approx(timedelta(days=20), abs=timedelta(minutes=10))
        # What lies ahead of everything is asked for to see whether the server filters at all.
        asked = [at for at in asked_from(story.sandbox, resource) if at < story.incremental.ended]
        assert asked[0] == start
        # Bounds are put to the test at the last record of a page, which may lie behind the end.
        assert len([at for at in asked if not start <= at < end]) <= 1
        added = between(resource, story.incremental.truth[resource], start, end)
        assert run.receipts[resource]["records"] == len(added)
        assert story.landing.records(resource) == since(resource, story.incremental.truth[resource], start)
    # A list of some dozen records may have none that was changed last in those twenty days.
    assert sum(run.receipts[resource]["records"] for resource in TRANSACTIONS) > 0


def test_a_full_refresh_ends_with_the_same_records(runner: DagRunner, story: Story) -> None:
    resource = "eam/work-orders"
    before = story.landing.state(resource).current
    # What was read in the same second could have been read later.
    time.sleep(1.1)
    run = runner.run(
        "makini_initial_sync", story.environment, conf={"full_refresh": True, "resources": [resource]}
    )
    start, _ = window(run.receipts[resource])
    assert run.receipts[resource]["records"] == len(since(resource, story.incremental.truth[resource], start))
    assert story.landing.records(resource) == since(resource, story.incremental.truth[resource], start)
    assert story.landing.state(resource).current != before


def test_catalogue_kinds_are_what_this_file_says() -> None:
    kinds: dict[str, Any] = {r: (get_resource(r).kind, get_resource(r).cursor_field) for r in RESOURCES}
    assert all(kinds[r][0] == "reference" for r in (*REFERENCE, *SNAPSHOT))
    assert all(kinds[r][0] == "transaction" and kinds[r][1] for r in TRANSACTIONS)


def test_an_empty_folder_is_left_as_it_is_by_an_incremental_sync(
    runner: DagRunner, sandbox: Sandbox, tmp_path: Path
) -> None:
    landing = Landing(tmp_path / "landing")
    run = runner.run("makini_incremental_sync", settings(sandbox, landing))
    assert run.state == "success"
    assert {task.state for task in run.syncs} == {"skipped"}
    assert "eam/work-orders has no completed initial sync at" in run.output
    assert "Run the initial sync first (the DAG makini_initial_sync" in run.output
    assert not [path for path in landing.folder.rglob("*") if path.is_file()]

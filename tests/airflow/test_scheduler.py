"""The example DAGs under a real scheduler, on a fresh database: initial, then incremental, by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from airflow_home import AirflowHome, Run
from landing import Landing, since, truth, window
from leaks import leaks_in_database, leaks_in_files
from standalone import Standalone, eventually

from makini_provider.sandbox import Sandbox

pytestmark = [pytest.mark.airflow, pytest.mark.scheduler]

TOKEN = "tok-under-a-scheduler-4711"
RESOURCES = ["eam/sites", "eam/uom", "eam/work-orders"]


@dataclass(frozen=True)
class Story:
    sandbox: Sandbox
    landing: Landing
    initial: Run
    incremental: Run
    cleared: Run
    records: dict[str, list[dict[str, dict[str, Any]]]]
    home: AirflowHome


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Both DAGs unpaused on an empty installation; one incremental run cleared once it is done."""
    landing = Landing(tmp_path_factory.mktemp("landing"))
    home = AirflowHome(tmp_path_factory.mktemp("scheduled"))
    with ExitStack() as ending:
        sandbox = ending.enter_context(Sandbox(seed=12, token=TOKEN, records=80))
        airflow = Standalone(
            home,
            {
                "MAKINI_DESTINATION": landing.uri,
                "MAKINI_RESOURCES": ",".join(RESOURCES),
                "MAKINI_SCHEDULE": "* * * * *",
            },
        )
        ending.callback(airflow.close)
        eventually("the start", airflow.is_up, airflow.log)
        # As a person does it in the UI: the token goes into the metadata database, encrypted.
        connection = {"connection_id": "makini_default", "conn_type": "makini"}
        airflow.ask(
            "POST", "/api/v2/connections", connection | {"host": sandbox.url, "password": sandbox.token}
        )

        def ended(dag_id: str, after: str = "") -> tuple[str, Run]:
            return eventually(
                f"the end of {dag_id}", lambda: airflow.finished(dag_id, after=after), airflow.log
            )

        airflow.unpause("makini_initial_sync")
        _, initial = ended("makini_initial_sync")
        sandbox.store.change(updates=10, inserts=3, resources=["eam/work-orders"])
        airflow.unpause("makini_incremental_sync")
        run_id, incremental = ended("makini_incremental_sync")
        # The first run may have been due before the changes were made: the next one brings them.
        changed_by = sandbox.store.integration["sync_updated_at"]
        last, brought = run_id, incremental
        while window(brought.receipts["eam/work-orders"])[1].isoformat() < changed_by:
            last, brought = ended("makini_incremental_sync", last)
        airflow.ask("PATCH", "/api/v2/dags/makini_incremental_sync", {"is_paused": True})
        before = {resource: landing.records(resource) for resource in RESOURCES}
        airflow.ask(
            "POST",
            "/api/v2/dags/makini_incremental_sync/clearTaskInstances",
            {"dag_run_id": run_id, "dry_run": False, "only_failed": False},
        )
        # A paused DAG runs what was cleared.
        airflow.ask("PATCH", "/api/v2/dags/makini_incremental_sync", {"is_paused": False})

        def run_again() -> Run | None:
            tasks = home.tasks("makini_incremental_sync", run_id)
            done = all(task.try_number == 2 and task.state == "success" for task in tasks)
            return Run("success", tasks, "") if done else None

        cleared = eventually("the second try", run_again, airflow.log)
        after = {resource: landing.records(resource) for resource in RESOURCES}
        records = {resource: [before[resource], after[resource]] for resource in RESOURCES}
        yield Story(sandbox, landing, initial, incremental, cleared, records, home)


LABELS = [f"makini_default · {resource}" for resource in RESOURCES]


def test_the_initial_sync_runs_by_itself_once_it_is_unpaused(story: Story) -> None:
    assert story.initial.state == "success"
    assert [(task.label, task.state) for task in story.initial.syncs] == [
        (label, "success") for label in LABELS
    ]


def test_the_incremental_sync_runs_on_its_schedule_and_skips_nothing(story: Story) -> None:
    assert story.incremental.state == "success"
    assert [(task.label, task.state) for task in story.incremental.syncs] == [
        (label, "success") for label in LABELS
    ]


def test_the_state_of_makinis_own_sync_is_asked_at_the_gate_alone(story: Story) -> None:
    asked = [one for one in story.sandbox.requests if one["path"] == "/api/integrations/current"]
    ((tries,),) = story.home.rows("SELECT sum(try_number) FROM task_instance WHERE task_id = 'gate'")
    assert 0 < len(asked) <= tries


def test_what_landed_is_what_the_api_has(story: Story) -> None:
    start, _ = window(story.initial.receipts["eam/work-orders"])
    for resource in RESOURCES:
        before_clearing, _ = story.records[resource]
        expected = truth(story.sandbox, resource)
        assert before_clearing == (
            since(resource, expected, start) if resource == "eam/work-orders" else expected
        )


def test_an_incremental_run_that_is_cleared_reads_its_interval_again_and_changes_nothing(
    story: Story,
) -> None:
    first = window(story.incremental.receipts["eam/work-orders"])
    again = window(story.cleared.receipts["eam/work-orders"])
    assert again[1] == first[1]
    for before, after in story.records.values():
        assert before == after


def test_the_token_is_in_no_log_and_no_row(story: Story) -> None:
    assert leaks_in_files(story.home.folder, {TOKEN}) == {}
    assert leaks_in_database(story.home.database, {TOKEN}) == {}
    logs = [path.read_text() for path in (story.home.folder / "airflow" / "logs").rglob("*.log")]
    assert any("makini_default/eam/work-orders: committed" in log for log in logs)

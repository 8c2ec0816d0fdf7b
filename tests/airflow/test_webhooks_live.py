"""From a change at Makini to a landed record: webhook, receiver, inbox, triggerer, scheduler, task."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from landing import truth
from standalone import eventually
from webhooks_trial import DAG, SECRET, Stage, Trial, staged

from makini_provider.sandbox import WebhookSettings

pytestmark = [pytest.mark.airflow, pytest.mark.scheduler]

ENOUGH = 60.0
"""Seconds from a change to its record that no machine should need."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("live")
    with staged(folder, f"sqlite:///{folder}/inbox.db") as stage:
        yield stage


def change(stage: Stage, resource: str) -> None:
    """Change some records, of which the sandbox tells by itself."""
    webhooks = stage.sandbox.webhooks
    webhooks.configure(WebhookSettings(url=stage.receiver.url("plant"), secret=SECRET, duplicates=0.5))
    webhooks.announce(stage.sandbox.store.change(updates=3, inserts=1, resources=[resource]))


def seconds_to_truth(stage: Stage, resource: str) -> float:
    """How long it takes until what has landed is what the API has."""
    began = time.monotonic()
    eventually(
        f"the landing of {resource}",
        lambda: stage.landing.records(resource) == truth(stage.sandbox, resource),
        stage.airflow.log,
    )
    return time.monotonic() - began


def test_a_change_lands_by_itself_within_seconds(stage: Stage) -> None:
    change(stage, "eam/assets")
    assert seconds_to_truth(stage, "eam/assets") < ENOUGH


def test_the_next_one_wakes_it_up_again(stage: Stage) -> None:
    change(stage, "eam/sites")
    assert seconds_to_truth(stage, "eam/sites") < ENOUGH


def test_duplicates_disorder_forgeries_and_a_killed_receiver_change_nothing(stage: Stage) -> None:
    figures = Trial(stage, seed=7).run(100, kill=["receiver"])
    assert figures.sent > 100
    assert figures.killed == ["receiver"]


def test_every_further_run_was_woken_up_by_the_triggerer(stage: Stage) -> None:
    rows = stage.airflow.home.rows("SELECT run_type FROM dag_run WHERE dag_id = ? ORDER BY id", DAG)
    first, *others = [run_type for (run_type,) in rows]
    assert first == "scheduled"
    assert set(others) == {"asset_triggered"}
    assert len(others) <= 8, "many events, few wake-ups"


def test_the_trial_keeps_its_secrets(stage: Stage) -> None:
    logs = [path for path in Path(stage.folder).rglob("*.log") if SECRET in path.read_text(errors="replace")]
    assert logs == []

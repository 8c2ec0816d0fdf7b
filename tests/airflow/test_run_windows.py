"""Which window a run reads: scheduled, by hand, without interval, by its params, after a pause."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow_home import DagRunner, NotStartedError
from landing import Landing, asked_from, between, lists_asked, since, truth, window

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.operators.sync import MakiniIncrementalSyncOperator, MakiniInitialSyncOperator
from makini_provider.sandbox import Sandbox

pytestmark = pytest.mark.airflow

RESOURCE = "eam/work-orders"
HOUR = timedelta(hours=1)
#: The server's clock stands here, so that windows are known to the second.
NOW = datetime(2026, 8, 1, 12, 30, tzinfo=UTC)
INTERVAL = datetime(2026, 8, 1, 11, tzinfo=UTC), datetime(2026, 8, 1, 12, tzinfo=UTC)
#: The sandbox starts at the full hour, with Makini's own sync just done.
WATERMARK = datetime(2026, 8, 1, 12, tzinfo=UTC)

Context = dict[str, Any]


def near(instant: datetime) -> datetime:
    """The client's idea of the server's clock runs on between two answers, if only for moments."""
    return pytest.approx(instant, abs=timedelta(seconds=1))


def context(
    run_type: str,
    interval: tuple[datetime, datetime] | None = None,
    logical_date: datetime | None = None,
) -> Context:
    """What Airflow hands to a task; what a run does not have is absent."""
    found: Context = {
        "ti": SimpleNamespace(dag_id="a_dag", run_id=f"{run_type}__{time.monotonic_ns()}"),
        "dag_run": SimpleNamespace(run_type=run_type),
    }
    if interval:
        found["data_interval_start"], found["data_interval_end"] = map(pendulum.instance, interval)
    if logical_date:
        found["logical_date"] = pendulum.instance(logical_date)
    return found


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=3, token="tok-windows-4711", records=150, now=NOW) as sandbox:
        sandbox.store.clock.set(NOW)
        yield sandbox


@pytest.fixture
def landing(tmp_path: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Landing:
    connection = {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token}
    monkeypatch.setenv("AIRFLOW_CONN_MAKINI_DEFAULT", json.dumps(connection))
    return Landing(tmp_path / "landing")


@pytest.fixture
def initial(landing: Landing) -> dict[str, Any]:
    """A completed initial sync; its receipt."""
    operator = MakiniInitialSyncOperator(task_id="initial", resource=RESOURCE, destination=landing.uri)
    return operator.execute(context("manual"))


@pytest.fixture
def incremental(landing: Landing) -> Callable[..., dict[str, Any]]:
    """Run an incremental sync in a context; its receipt."""

    def run(run_context: Context, **arguments: Any) -> dict[str, Any]:
        arguments = {"resource": RESOURCE, "destination": landing.uri, **arguments}
        return MakiniIncrementalSyncOperator(task_id="incremental", **arguments).execute(run_context)

    return run


Incremental = Callable[..., dict[str, Any]]


# From what Airflow says about a run to its window


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_scheduled_run_ends_with_its_interval(
    initial: dict[str, Any], incremental: Incremental, run_type: str
) -> None:
    receipt = incremental(context(run_type, INTERVAL, logical_date=INTERVAL[0]))
    assert window(receipt) == (INTERVAL[0] - HOUR, INTERVAL[1])


def test_a_manual_run_goes_beyond_its_interval_up_to_now(
    initial: dict[str, Any], incremental: Incremental
) -> None:
    # The logical date is this machine's time; it is carried over to the server's clock.
    receipt = incremental(context("manual", INTERVAL, logical_date=datetime.now(UTC)))
    assert window(receipt) == (INTERVAL[0] - HOUR, near(NOW))


@pytest.mark.parametrize("run_type", ["scheduled", "manual", "asset_triggered"])
def test_a_run_with_an_interval_of_no_width_goes_from_the_watermark_to_now(
    initial: dict[str, Any], incremental: Incremental, run_type: str
) -> None:
    receipt = incremental(context(run_type, (INTERVAL[0], INTERVAL[0]), logical_date=INTERVAL[0]))
    assert window(receipt) == (WATERMARK - HOUR, near(NOW))


def test_a_run_without_an_interval_goes_from_the_watermark_to_now(
    initial: dict[str, Any], incremental: Incremental
) -> None:
    assert window(incremental(context("asset_triggered"))) == (WATERMARK - HOUR, near(NOW))


def test_lookback_pulls_the_start_back(initial: dict[str, Any], incremental: Incremental) -> None:
    receipt = incremental(context("scheduled", INTERVAL), lookback=timedelta(days=3))
    assert window(receipt) == (INTERVAL[0] - timedelta(days=3), INTERVAL[1])


def test_a_run_ahead_of_its_time_ends_at_the_servers_clock(
    initial: dict[str, Any], incremental: Incremental
) -> None:
    ahead = NOW - HOUR, NOW + timedelta(days=1)
    assert window(incremental(context("scheduled", ahead)))[1] == near(NOW)


def test_an_interval_that_has_not_begun_on_the_server_is_no_reason_to_start_later(
    initial: dict[str, Any], incremental: Incremental
) -> None:
    receipt = incremental(context("scheduled", (NOW + 24 * HOUR, NOW + 48 * HOUR)))
    assert window(receipt) == (WATERMARK - HOUR, near(NOW))


def test_a_paused_month_heals_with_the_first_run_after_it(landing: Landing, incremental: Incremental) -> None:
    with Sandbox(seed=5, records=100, now=NOW, token="tok-windows-4711") as month:
        connection = {
            "conn_type": "makini",
            "host": month.url,
            "password": month.token,
            "extra": {"page_size": 10},
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIRFLOW_CONN_MAKINI_DEFAULT", json.dumps(connection))
            started = MakiniInitialSyncOperator(
                task_id="initial", resource=RESOURCE, destination=landing.uri
            ).execute(context("manual"))
            for _ in range(10):
                month.store.clock.advance(timedelta(days=3))
                month.store.change(updates=4, inserts=2, resources=[RESOURCE])
            month.store.clock.advance(HOUR)
            end = month.store.clock.now().replace(minute=0, second=0, microsecond=0)
            receipt = incremental(context("scheduled", (end - HOUR, end)), max_window=timedelta(days=7))
        start, _ = window(started)
        assert window(receipt) == (WATERMARK - HOUR, end)
        assert receipt["commits"] > 1
        assert landing.records(RESOURCE) == since(RESOURCE, truth(month, RESOURCE), start)


# Params of the operator


def test_window_params_outrank_the_interval(initial: dict[str, Any], incremental: Incremental) -> None:
    receipt = incremental(
        context("scheduled", INTERVAL),
        window_start="2026-07-01T00:00:00Z",
        window_end="2026-07-03T00:00:00+02:00",
    )
    assert window(receipt) == (datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 2, 22, tzinfo=UTC))


def test_one_window_param_leaves_the_other_end_to_the_run(
    initial: dict[str, Any], incremental: Incremental
) -> None:
    receipt = incremental(context("scheduled", INTERVAL), window_start="2026-07-01T00:00:00Z")
    assert window(receipt) == (datetime(2026, 7, 1, tzinfo=UTC), INTERVAL[1])


def test_full_refresh_reads_the_history_again(initial: dict[str, Any], incremental: Incremental) -> None:
    receipt = incremental(context("scheduled", INTERVAL), full_refresh=True)
    assert receipt["sync"] == "initial"
    assert receipt["records"] == initial["records"]


def test_an_empty_param_is_no_param(initial: dict[str, Any], incremental: Incremental) -> None:
    plain = incremental(context("scheduled", INTERVAL))
    for nothing in ("", "None", None):
        receipt = incremental(
            context("scheduled", INTERVAL),
            window_start=nothing,
            window_end=nothing,
            full_refresh="" if nothing is None else str(nothing),
        )
        assert window(receipt) == window(plain)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"window_start": "2026-07-02T00:00:00Z", "window_end": "2026-07-01T00:00:00Z"},
            ["window_start 2026-07-02", "not before window_end 2026-07-01"],
        ),
        ({"window_start": "2027-07-02T00:00:00Z"}, ["window_start 2027-07-02", "future", "2026-08-01T12:30"]),
        ({"full_refresh": "perhaps"}, ["full_refresh", "'perhaps'", "true or false"]),
        ({"filters": "siteKey"}, ["filters", "str", "siteKey"]),
    ],
)
def test_a_param_that_makes_no_sense_fails_the_task_at_once_and_says_why(
    initial: dict[str, Any],
    incremental: Incremental,
    landing: Landing,
    arguments: dict[str, Any],
    words: list[str],
) -> None:
    before = landing.files(RESOURCE)
    with pytest.raises(AirflowFailException) as failed:
        incremental(context("scheduled", INTERVAL), **arguments)
    assert all(word in str(failed.value) for word in words)
    assert landing.files(RESOURCE) == before


@pytest.mark.parametrize("name", ["window_start", "window_end"])
def test_a_naive_time_is_refused_where_it_is_written(landing: Landing, name: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=f"{name} is 2026-07-01T00:00:00.*time zone.*'Z' for"):
        MakiniInitialSyncOperator(
            task_id="sync", resource=RESOURCE, destination=landing.uri, **{name: "2026-07-01T00:00:00"}
        )


# Before the first initial sync


def test_an_incremental_sync_before_any_initial_one_fails_and_says_what_to_run(
    incremental: Incremental, landing: Landing
) -> None:
    with pytest.raises(
        AirflowFailException, match=r"no completed initial sync at file://.*makini_initial_sync"
    ):
        incremental(context("scheduled", INTERVAL))
    assert not [path for path in landing.folder.rglob("*") if path.is_file()]


def test_it_skips_where_that_is_wanted(incremental: Incremental) -> None:
    with pytest.raises(AirflowSkipException, match="no completed initial sync"):
        incremental(context("scheduled", INTERVAL), before_initial="skip")


def test_it_does_the_initial_sync_first_where_that_is_wanted(
    incremental: Incremental, landing: Landing, sandbox: Sandbox
) -> None:
    incremental(context("scheduled", INTERVAL), before_initial="initial", history=timedelta(days=30))
    expected = since(RESOURCE, truth(sandbox, RESOURCE), NOW - timedelta(days=30))
    assert landing.records(RESOURCE) == expected
    assert landing.state(RESOURCE).watermark == WATERMARK


# The form of a run, through real Airflow


@pytest.fixture(scope="module")
def environment(runner: DagRunner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server on real time, two connections to it, and a completed initial sync of both."""
    with Sandbox(seed=8, token="tok-form-4711", records=100) as sandbox:
        landing = Landing(tmp_path_factory.mktemp("landing"))
        connection = json.dumps({"conn_type": "makini", "host": sandbox.url, "password": sandbox.token})
        environment = {
            "AIRFLOW_CONN_MAKINI_DEFAULT": connection,
            "AIRFLOW_CONN_PLANT_2": connection,
            "MAKINI_RESOURCES": "eam/sites,eam/work-orders",
            "MAKINI_CONN_IDS": "makini_default,plant_2",
            "MAKINI_DESTINATION": landing.uri,
        }
        assert runner.run("makini_initial_sync", environment).state == "success"
        yield environment


def test_a_run_without_logical_date_goes_up_to_now(runner: DagRunner, environment: dict[str, str]) -> None:
    before = datetime.now(UTC)
    run = runner.run("makini_incremental_sync", environment, logical_date=None)
    assert {task.state for task in run.tasks} == {"success"}
    assert all(window(r)[1] >= before - timedelta(seconds=1) for r in run.receipts.values())


def test_all_connections_and_resources_of_the_settings_are_synced(
    runner: DagRunner, environment: dict[str, str]
) -> None:
    run = runner.run("makini_incremental_sync", environment)
    assert [task.label for task in run.syncs] == [
        "makini_default · eam/sites",
        "makini_default · eam/work-orders",
        "plant_2 · eam/sites",
        "plant_2 · eam/work-orders",
    ]


def test_the_form_narrows_connections_resources_and_window(
    runner: DagRunner, environment: dict[str, str]
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(days=20)
    start = end - timedelta(days=5)
    form = {
        "connections": ["plant_2"],
        "resources": ["eam/work-orders"],
        "window_start": start.isoformat(),
        "window_end": end.isoformat(),
    }
    run = runner.run("makini_incremental_sync", environment, conf=form)
    assert [task.label for task in run.syncs] == ["plant_2 · eam/work-orders"]
    assert window(run.receipts["eam/work-orders"]) == (start, end)


def test_the_form_asks_for_a_full_refresh(runner: DagRunner, environment: dict[str, str]) -> None:
    form = {"connections": ["plant_2"], "resources": ["eam/work-orders"], "full_refresh": True}
    run = runner.run("makini_incremental_sync", environment, conf=form)
    receipt = run.receipts["eam/work-orders"]
    assert receipt["sync"] == "initial"
    assert window(receipt)[1] - window(receipt)[0] == timedelta(days=90)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (
            {"window_start": "2026-07-02T00:00:00Z", "window_end": "2026-07-01T00:00:00Z"},
            ["window_start 2026-07-02", "not before window_end 2026-07-01"],
        ),
        ({"resources": ["eam/work-order"]}, ["eam/work-order", "eam/work-orders"]),
    ],
)
def test_a_form_that_makes_no_sense_fails_the_run_at_the_first_try_and_says_why(
    runner: DagRunner, environment: dict[str, str], form: dict[str, Any], words: list[str]
) -> None:
    run = runner.run("makini_incremental_sync", environment, conf=form)
    assert run.state == "failed"
    assert {task.try_number for task in run.tasks if task.state == "failed"} == {1}
    assert all(word in run.output for word in words)


def test_the_form_refuses_a_time_without_zone(runner: DagRunner, environment: dict[str, str]) -> None:
    form = {"window_start": "2026-07-01T00:00:00"}
    try:
        run = runner.run("makini_incremental_sync", environment, conf=form)
    except NotStartedError as refused:
        # Airflow itself refuses it where rfc3339-validator is installed.
        said, failed = str(refused), []
    else:
        said, failed = run.output, [task for task in run.tasks if task.state == "failed"]
    assert re.search("window_start:? (is )?'?2026-07-01T00:00:00", said)
    assert [(task.task_id, task.try_number) for task in failed] in ([], [("plan", 1)])


def test_requests_stay_inside_the_window(
    initial: dict[str, Any], incremental: Incremental, sandbox: Sandbox, landing: Landing
) -> None:
    sandbox.forget_requests()
    receipt = incremental(context("scheduled", INTERVAL), lookback=timedelta(days=7))
    assert lists_asked(sandbox) == {RESOURCE}
    assert asked_from(sandbox, RESOURCE)[0] == window(receipt)[0]
    assert receipt["records"] == len(between(RESOURCE, truth(sandbox, RESOURCE), *window(receipt)))

"""Nothing is lost over real HTTP, where a plain reader loses: a few of the trials of ``make results``."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.page import PAGE
from benchmarks.trials import SCENARIOS, Outcome, PlainSyncs, Scenario, run
from makini_provider.sync import run as sync_run
from tests.sync.test_the_suite_bites import coverage_first, page_numbers

SMALL = [replace(scenario, records=(150, 300)) for scenario in SCENARIOS if scenario.parallel == 1]
BEHAVES = replace(SMALL[0], page_sizes=(5, 20))
PARALLEL = next(scenario for scenario in SCENARIOS if scenario.parallel > 1)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    caplog.set_level(logging.CRITICAL, "makini_provider")


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_nothing_is_lost_doubled_or_half_committed(scenario: Scenario) -> None:
    outcome = run(scenario, f"suite/{scenario.name}")
    assert outcome.changes > 0
    assert outcome.correct, outcome


def test_nothing_is_lost_where_parts_are_read_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []

    def noted(*arguments: Any, **options: Any) -> Any:
        windows = partition(*arguments, **options)
        parts.append(len(windows))
        return windows

    partition = sync_run.partition
    monkeypatch.setattr(sync_run, "partition", noted)
    outcome = run(replace(PARALLEL, records=(400, 500), page_sizes=(3, 3)), "suite/parts")
    assert max(parts) > 1
    assert outcome.changes > 0
    assert outcome.correct, outcome


def test_a_plain_reader_loses_in_the_same_trials() -> None:
    seeds = ["suite/2", "suite/3"]
    plain = sum((run(BEHAVES, seed, PlainSyncs) for seed in seeds), Outcome())
    own = sum((run(BEHAVES, seed) for seed in seeds), Outcome())
    assert plain.lost + plain.wrong > 0
    assert own.correct, own


@pytest.mark.parametrize(
    ("plant", "found"),
    [(page_numbers, lambda outcome: outcome.lost), (coverage_first, lambda outcome: outcome.half_commits)],
    ids=["page_numbers", "coverage_first"],
)
def test_a_planted_mistake_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    found: Callable[[Outcome], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    assert any(found(run(BEHAVES, f"suite/{number}")) for number in range(20))


def test_the_page_of_results_is_of_these_trials_and_says_that_nothing_is_lost() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    head = next(row for row in rows if row[0] == "the server, and its source")
    told = {row[0]: dict(zip(head, row, strict=True)) for row in rows if len(row) == len(head)}
    assert [*told][2:] == [*(scenario.name for scenario in SCENARIOS), "together"]
    for name in ("lost", "wrong version", "doubled after merge", "half commits"):
        assert {row[name] for row in [*told.values()][2:]} == {"0"}

"""The table of what is lost: many trials over HTTP against a source that changes while it is read.

::

    python -m benchmarks.nothing_is_lost [--seed 1] [--trials 30] [--write]

Each trial is done twice with the same seed: by the provider's own syncs, and by a plain reader that goes by
page numbers. ``--write`` puts the table into ``docs/results.md``. A loss of our own is told with its seed,
and ends the command with 1; ``--only`` repeats one trial.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from benchmarks import page
from benchmarks.trials import SCENARIOS, Outcome, OwnSyncs, PlainSyncs, Scenario, run

HEADS = (
    "the server, and its source",
    "trials",
    "requests",
    "changes while reading",
    "requests that failed",
    "tries that failed",
    "records",
    "lost",
    "wrong version",
    "doubled after merge",
    "half commits",
    "plain reader: lost or wrong",
)


class Results:
    """The outcomes of both readers, by scenario."""

    def __init__(self) -> None:
        self.own = {scenario.name: Outcome() for scenario in SCENARIOS}
        self.plain = {scenario.name: Outcome() for scenario in SCENARIOS}

    def rows(self) -> Iterator[tuple[object, ...]]:
        """The rows of the table, with their sum at the end."""
        for name, own in self.own.items():
            yield _row(name, own, self.plain[name])
        yield _row("together", sum(self.own.values(), Outcome()), sum(self.plain.values(), Outcome()))


def _row(name: str, own: Outcome, plain: Outcome) -> tuple[object, ...]:
    return (
        name,
        own.trials,
        own.requests,
        own.changes,
        own.faults,
        own.failed_tries,
        own.records,
        own.lost,
        own.wrong,
        own.doubled,
        own.half_commits,
        _of_plain(plain),
    )


def _of_plain(plain: Outcome) -> str:
    if plain.unfinished == plain.trials:
        return "its runs fail"
    lost = plain.lost + plain.wrong
    return f"{lost:,} (in {plain.incorrect:,} of {plain.trials - plain.unfinished:,} trials)"


def main() -> int:
    """Do the trials, print the table, and write it where it was asked for."""
    arguments = _arguments()
    if arguments.only:
        return _once(arguments.only)
    started = time.monotonic()
    results, failures = _try_all(arguments.seed, arguments.trials, arguments.jobs)
    minutes = (time.monotonic() - started) / 60
    lines = page.table(HEADS, results.rows())
    print("\n".join([*lines, "", *failures]))
    if arguments.write:
        told = (
            f"Seed {arguments.seed}, {arguments.trials} trials of each kind: {page.versions()}; "
            f"{minutes:.0f} minutes with {arguments.jobs} processes."
        )
        page.write("trials", [*lines, "", told])
    return 1 if failures else 0


def _try_all(seed: int, trials: int, jobs: int) -> tuple[Results, list[str]]:
    results, failures = Results(), []
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as processes:
        waiting = {
            processes.submit(_trial, scenario, f"{seed}/{scenario.name}/{number}", own): (
                scenario,
                f"{seed}/{scenario.name}/{number}",
                own,
            )
            for number in range(trials)
            for scenario in SCENARIOS
            for own in (True, False)
        }
        for count, done in enumerate(as_completed(waiting), start=1):
            scenario, name, own = waiting[done]
            outcome = done.result()
            results_of = results.own if own else results.plain
            results_of[scenario.name] += outcome
            if own and not outcome.correct:
                failures.append(f"NOT CORRECT: --only '{name}': {outcome}")
                print(failures[-1], file=sys.stderr, flush=True)
            if count % 100 == 0:
                print(f"{count} of {len(waiting)} done", file=sys.stderr, flush=True)
    return results, failures


def _trial(scenario: Scenario, seed: str, own: bool) -> Outcome:
    # Of warnings there are thousands: that is what the trials are about.
    logging.disable(logging.CRITICAL)
    return run(scenario, seed, OwnSyncs if own else PlainSyncs)


def _once(name: str) -> int:
    wanted = name.split("/")[1]
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == wanted)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    outcome = run(scenario, name)
    print(outcome)
    return 0 if outcome.correct else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="other seed, other trials")
    parser.add_argument("--trials", type=int, default=30, help="of each kind of server")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    parser.add_argument("--only", metavar="SEED/SERVER/NUMBER", help="one trial, as it is named by a failure")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())

"""A pytest plugin under which a skipped test has failed: `make test MAKINI_TESTS_NO_SKIP=1`.

CI installs what the tests use, so a skip there hides something. The one thing that can't be installed
are the vendor's OpenAPI files.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

ALLOWED = "the vendor's OpenAPI files are not"


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if reason.removeprefix("Skipped: ").startswith(ALLOWED):
        return
    report.outcome = "failed"
    report.longrepr = f"skipped where nothing may be skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse(report)
    return report

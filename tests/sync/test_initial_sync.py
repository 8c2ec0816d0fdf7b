"""What an initial sync makes of the times that it is given."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from makini_provider.api.resources import get_resource
from makini_provider.sync.run import StreamSync
from makini_provider.sync.streams import Source, Stream
from tests.sync.machine import STREAM
from tests.sync.memory import MemoryDestination
from tests.sync.model import DAY, ModelClient, ModelSource

ASSETS = Stream(Source("makini_default"), get_resource("eam/assets"))


@pytest.fixture
def source() -> ModelSource:
    source = ModelSource(Random(1))
    for age in range(1, 40):
        source.insert(source.now - age * DAY)
    return source


def initial(
    source: ModelSource, destination: MemoryDestination, stream: Stream = STREAM, **times: datetime
) -> dict[str, Any]:
    sync = StreamSync(ModelClient(source), destination, stream, run_id="run")
    return sync.initial(history=timedelta(days=20), **times)


def test_given_times_take_the_place_of_both_ends(source: ModelSource) -> None:
    start, end = source.now - 30 * DAY, source.now - 10 * DAY
    receipt = initial(source, MemoryDestination(), window_start=start, window_end=end)
    assert receipt["windows"] == [[start.isoformat(), end.isoformat()]]
    assert receipt["warnings"] == []


def test_the_same_times_again_are_no_reason_to_warn(source: ModelSource) -> None:
    destination = MemoryDestination()
    times = {"window_start": source.now - 30 * DAY, "window_end": source.now - 10 * DAY}
    initial(source, destination, **times)
    assert initial(source, destination, **times)["warnings"] == []


@pytest.mark.parametrize(("name", "days"), [("window_start", 5), ("window_end", 3)])
def test_times_that_come_too_late_to_matter_are_a_warning(source: ModelSource, name: str, days: int) -> None:
    destination = MemoryDestination()
    initial(source, destination)
    (warning,) = initial(source, destination, **{name: source.now - days * DAY})["warnings"]
    assert "there is an initial sync from" in warning
    assert "full_refresh=True begins a new one" in warning


def test_a_reference_resource_is_read_whole_and_says_that_times_have_no_effect(source: ModelSource) -> None:
    destination = MemoryDestination()
    receipt = initial(source, destination, ASSETS, window_start=source.now - DAY)
    assert destination.newest().keys() == source.records.keys()
    assert "window_start and window_end have no effect on a reference resource" in receipt["warnings"][0]

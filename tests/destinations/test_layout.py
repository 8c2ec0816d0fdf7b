"""Where a stream lives, and what its commits are called."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makini_provider.api.resources import catalogue, custom_resource, get_resource
from makini_provider.destinations.files.layout import (
    commit_name,
    folder_name,
    parse_commit_name,
    stream_folder,
)
from makini_provider.sync.ids import new_id
from makini_provider.sync.streams import Source, Stream
from makini_provider.sync.windows import Window

RESOURCES = sorted(catalogue())
ID = "01980000-0000-7000-8000-000000000000"

# What Airflow takes for a conn id, and what it does not.
texts = st.text(max_size=12) | st.text(alphabet="aA_.-/\\:@% é#!()", max_size=6)
sources = st.builds(Source, texts, st.none() | texts)
paths = st.lists(st.text(alphabet="aA_.-%~é1", min_size=1, max_size=4), min_size=1, max_size=4)
resources = st.sampled_from(RESOURCES).map(get_resource) | paths.filter(
    lambda parts: not {".", ".."} & set(parts) and "%2" not in "/".join(parts)
).map(lambda parts: custom_resource("/" + "/".join(parts)))
streams = st.builds(Stream, sources, resources)


def location(stream: Stream) -> tuple[Source, str]:
    """What tells streams apart. A path with and without a slash at its end is the same list."""
    return stream.source, stream.resource.name


@given(streams, streams)
def test_two_streams_never_share_a_folder_even_where_case_does_not_count(one: Stream, other: Stream) -> None:
    if location(one) != location(other):
        assert stream_folder(one).casefold() != stream_folder(other).casefold()


@given(texts, texts)
def test_conn_ids_that_look_alike_get_folders_of_their_own(one: str, other: str) -> None:
    folders = {stream_folder(Stream(Source(t), get_resource("eam/assets"))).casefold() for t in (one, other)}
    assert len(folders) == len({one, other})


@given(streams)
def test_a_folder_is_three_plain_segments(stream: Stream) -> None:
    segments = stream_folder(stream).split("/")
    assert len(segments) == 3, "so no stream's folder lies in another's"
    for segment in segments:
        assert segment
        assert not segment.startswith((".", "_")), "hidden, or passed over by Spark and Hive"
        assert segment.isascii()
        assert segment == segment.lower()
        assert not set(segment) & set('\\:*?[]"<>| #'), "has a meaning of its own somewhere"


def test_every_resource_of_the_catalogue_has_its_own_folder() -> None:
    folders = {stream_folder(Stream(Source("acme"), get_resource(name))) for name in RESOURCES}
    assert len(folders) == len(RESOURCES) == 109


@pytest.mark.parametrize(
    ("source", "resource", "folder"),
    [
        (Source("makini_default"), "eam/work-orders", "makini_default/eam/work-orders"),
        (Source("a"), "eam/work-orders/materials", "a/eam/work-orders__materials"),
        (Source("Acme/EU"), "erp/bom", "%41cme%2f%45%55/erp/bom"),
        (Source("a", "c-1"), "wms/stocks", "a@c-1/wms/stocks"),
        (Source("a@c-1"), "wms/stocks", "a%40c-1/wms/stocks"),
        (Source(".."), "wms/stocks", "%2e./wms/stocks"),
        (Source("_tmp"), "wms/stocks", "%5ftmp/wms/stocks"),
        (Source("a"), "path:/api/raw/tables/x/data", "a/path/api__raw__tables__x__data"),
    ],
)
def test_names_stay_readable(source: Source, resource: str, folder: str) -> None:
    assert stream_folder(Stream(source, get_resource(resource))) == folder


@given(st.text(min_size=1, max_size=12), st.sampled_from(RESOURCES))
def test_a_folder_is_told_in_words(conn_id: str, resource: str) -> None:
    folder = stream_folder(Stream(Source(conn_id), get_resource(resource)))
    assert folder_name(folder) == f"{conn_id}/{resource}"


instants = st.datetimes(timezones=st.just(UTC))
windows = st.tuples(instants, instants).filter(lambda w: w[0] < w[1]).map(lambda w: Window(*w))


@given(st.none() | windows)
def test_a_commits_name_says_what_it_covers(covered: Window | None) -> None:
    commit_id = new_id()
    name = commit_name(covered, commit_id)
    assert parse_commit_name(name) == (covered, commit_id)
    assert name.isascii()
    assert "/" not in name


@given(windows, windows)
def test_names_sort_by_where_their_windows_start(one: Window, other: Window) -> None:
    if one.start < other.start:
        assert commit_name(one, "") < commit_name(other, "")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "readme.json",
        "none--none.json",
        "a--b--c.json",
        f"none--none--{ID}.json.tmp",
        f"none--20260801T000000.000000Z--{ID}.json",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (its text is for people)
        parse_commit_name(name)

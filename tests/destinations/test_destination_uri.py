"""What a destination may be, said before anything is opened."""

from __future__ import annotations

from typing import Any

import pytest

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.destinations.files.store import open_store
from makini_provider.destinations.uri import check_destination


@pytest.mark.parametrize(
    "destination",
    [
        "file:///data/makini",
        "file:///data/mein ordner/é",
        "s3://bucket/makini",
        "s3://aws_default@bucket",
        "gs://bucket/a/b/",
        "abfs://container@account/makini",
    ],
)
def test_good_ones_pass(destination: str) -> None:
    check_destination(destination)


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("", "destination is ''"),
        ("  ", "destination is '  '"),
        (None, "destination is None"),
        ("/data/makini", "write 'file:///data/makini'"),
        ("data/makini", "is not a URI"),
        ("S3://bucket", "is not a URI"),
        ("file://data/makini", "needs an absolute path"),
        ("file:///", "needs an absolute path"),
        ("file://", "needs an absolute path"),
        ("s3:///makini", "names no bucket"),
        ("s3://aws_default@/makini", "names no bucket"),
        ("sql://warehouse/makini", "tables are not supported"),
        ("file:///data/../etc", "contains '..'"),
        ("s3://bucket/x?versionId=1", "has a '?'"),
        ("file:///data/c#", "has a '#'"),
        ("file:///data/*", "has a '*'"),
        ("s3://[bucket/x", "has a '['"),
    ],
)
def test_bad_ones_are_named_with_the_way_out(destination: Any, why: str) -> None:
    with pytest.raises(MakiniConfigurationError) as caught:
        check_destination(destination)
    assert why in str(caught.value)
    assert str(destination).strip() in str(caught.value)
    assert "file:///" in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("file_format", "csv"), ("compression", "lz4")])
def test_formats_that_it_does_not_write(name: str, value: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=rf"{name} '{value}' is not supported. Use one of"):
        FilesDestination("file:///data/makini", **{name: value})


def test_a_store_that_this_airflow_can_not_open() -> None:
    with pytest.raises(MakiniConfigurationError) as caught:
        open_store("gopher://bucket/makini")
    assert "this Airflow can't open gopher://" in str(caught.value)
    assert "Install the provider" in str(caught.value)

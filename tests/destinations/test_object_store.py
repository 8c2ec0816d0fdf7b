"""The same promises on an object store, over S3's own API."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from airflow.sdk.io import attach

from makini_provider.api.errors import (
    CorruptCommitError,
    MakiniConfigurationError,
    MakiniDestinationError,
)
from makini_provider.destinations.files import destination as module
from makini_provider.destinations.files.destination import FilesDestination, streams_of
from makini_provider.destinations.files.layout import stream_folder
from makini_provider.destinations.files.reader import committed_files, newest_records
from makini_provider.destinations.files.vacuum import vacuum

from .building import DAY, HISTORY, NOW, facts, id_at, kill, land, record, stream
from .object_store import Bucket, client, serving

WORK_ORDERS = stream()
FOLDER = stream_folder(WORK_ORDERS)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture(scope="module")
def shared_bucket(server: str) -> Bucket:
    # What the amazon provider does for a connection's name in the URI.
    attach("s3", "lake", fs=client(server, default_block_size=5 * 2**20))
    return Bucket(server)


@pytest.fixture
def bucket(shared_bucket: Bucket) -> Iterator[Bucket]:
    yield shared_bucket
    shared_bucket.empty()


@pytest.fixture
def destination(bucket: Bucket) -> FilesDestination:
    return FilesDestination("s3://lake@bucket/makini")


def keys(destination: FilesDestination) -> list[str]:
    return sorted(json.loads(raw)["key"] for raw in newest_records(destination.store, FOLDER))


def test_records_land_and_come_back(destination: FilesDestination, bucket: Bucket) -> None:
    assert destination.commits(WORK_ORDERS) == []
    commit = land(destination, WORK_ORDERS, [(NOW, [record("1"), record("2")])], facts())
    assert destination.commits(WORK_ORDERS) == [commit]
    assert keys(destination) == ["1", "2"]
    assert list(streams_of(destination.store)) == [FOLDER]
    assert bucket.keys() == [
        f"makini/{FOLDER}/_commits/20260503T000000.000000Z--20260801T000000.000000Z--{commit.id}.json",
        f"makini/{FOLDER}/data/{commit.id}/part-00000.jsonl.gz",
    ]


def test_files_are_named_without_airflows_connection(destination: FilesDestination) -> None:
    commit = land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
    (name,) = committed_files(destination.store, FOLDER)
    assert destination.store.uri(name) == f"s3://bucket/makini/{FOLDER}/{commit.files[0].path}"


def test_what_another_process_wrote_is_seen_at_once(destination: FilesDestination, server: str) -> None:
    """Listings go past every cache: one that is remembered would hide a commit."""
    assert destination.commits(WORK_ORDERS) == []
    attach("s3", "other", fs=client(server))
    other = FilesDestination("s3://other@bucket/makini")
    for number in range(3):
        land(other, WORK_ORDERS, [(NOW, [record(str(number))])], facts())
        assert len(destination.commits(WORK_ORDERS)) == number + 1


def test_large_files_go_up_in_parts(
    destination: FilesDestination, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 12 * 2**20)
    destination._compression = "none"
    reads = [(NOW + timedelta(seconds=n), [record(str(n), pad="x" * 2**20)]) for n in range(15)]
    commit = land(destination, WORK_ORDERS, reads, facts())
    assert [file.records for file in commit.files] == [12, 3]
    assert len(keys(destination)) == 15
    assert bucket.uploads() == []


@pytest.mark.parametrize("megabytes", [0, 11], ids=["before its upload began", "in the middle of its upload"])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_discarded_attempt_publishes_nothing(bucket: Bucket, compression: str, megabytes: int) -> None:
    destination = FilesDestination("s3://lake@bucket/makini", compression=compression)
    attempt = destination.begin(WORK_ORDERS)
    attempt.write([record("1", pad="x" * megabytes * 2**20)], NOW)
    if megabytes and compression == "none":
        assert bucket.uploads()
    attempt.discard()
    del attempt
    gc.collect()
    assert bucket.keys() == []
    assert bucket.uploads() == []


def test_vacuum_removes_old_attempts_only(destination: FilesDestination, bucket: Bucket) -> None:
    kept = land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())
    killed = destination.begin(WORK_ORDERS)
    killed.id = id_at(HISTORY.start)
    killed.write([record("2")], NOW)
    kill(killed)
    assert len(bucket.keys()) == 3
    removed = vacuum(destination.store, grace=DAY)
    assert removed.attempts == [f"{FOLDER}/data/{killed.id}"]
    assert destination.commits(WORK_ORDERS) == [kept]
    assert len(bucket.keys()) == 2
    assert vacuum(destination.store, grace=DAY).attempts == []


def test_data_that_vacuum_took_is_not_committed(destination: FilesDestination, bucket: Bucket) -> None:
    """Here the files are published before the commit: without a look no error would come."""
    attempt = destination.begin(WORK_ORDERS)
    attempt.write([record("1")], NOW)
    attempt._close_part()
    vacuum(destination.store, grace=timedelta(0))
    with pytest.raises(MakiniDestinationError, match="was removed while a task was writing it"):
        attempt.commit(facts())
    assert bucket.keys() == []


def test_a_commit_whose_answer_is_lost_keeps_its_data(
    destination: FilesDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server took it, and the connection broke: the task fails, and the commit is there."""
    attempt = destination.begin(WORK_ORDERS)
    attempt.write([record("1")], NOW)
    attempt._close_part()
    put = destination.store.put

    def cut_off(name: str, content: bytes) -> None:
        put(name, content)
        raise MakiniDestinationError("timed out")

    monkeypatch.setattr(destination.store, "put", cut_off)
    with pytest.raises(MakiniDestinationError, match="timed out"):
        attempt.commit(facts())
    attempt.discard()
    assert keys(destination) == ["1"]


def test_a_commit_that_does_not_parse_is_named(destination: FilesDestination, bucket: Bucket) -> None:
    land(destination, WORK_ORDERS, [], facts())
    (key,) = bucket.keys()
    bucket.client.call_s3("put_object", Bucket="bucket", Key=key, Body=b"{")
    with pytest.raises(CorruptCommitError, match=f"s3://lake@bucket/makini/{FOLDER}/_commits/"):
        destination.commits(WORK_ORDERS)


def test_a_bucket_that_does_not_exist(bucket: Bucket) -> None:
    destination = FilesDestination("s3://lake@no-such-bucket/makini")
    with pytest.raises(
        MakiniConfigurationError, match=r"can't write s3://lake@no-such-bucket/.*does not exist"
    ):
        land(destination, WORK_ORDERS, [(NOW, [record("1")])], facts())


def test_a_store_that_does_not_answer() -> None:
    attach("s3", "gone", fs=client("http://127.0.0.1:9"))
    destination = FilesDestination("s3://gone@bucket/makini")
    with pytest.raises(MakiniDestinationError, match="can't list s3://gone@bucket/") as caught:
        destination.commits(WORK_ORDERS)
    assert caught.value.retryable

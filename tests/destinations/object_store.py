"""An S3 server on this machine, and clients of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import s3fs
from moto.server import ThreadedMotoServer

CHANGES = {
    "put_object",
    "create_multipart_upload",
    "upload_part",
    "complete_multipart_upload",
    "abort_multipart_upload",
    "delete_object",
    "delete_objects",
}
"""Requests that change something."""


@contextmanager
def serving() -> Iterator[str]:
    """Run moto's server on a free port; its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    # What it holds outlives the server: it is kept in this process.
    requests.post(f"{url}/moto-api/reset", timeout=10).raise_for_status()
    try:
        yield url
    finally:
        server.stop()


def client(url: str, kind: type[s3fs.S3FileSystem] = s3fs.S3FileSystem, **more: Any) -> s3fs.S3FileSystem:
    """A client that shares nothing with others."""
    return kind(
        key="key",
        secret="secret",
        endpoint_url=url,
        client_kwargs={"region_name": "us-east-1"},
        config_kwargs={"retries": {"max_attempts": 1}},
        skip_instance_cache=True,
        **more,
    )


class Bucket:
    """A bucket on an S3 server, and a client that shares nothing with the code under test."""

    def __init__(self, url: str) -> None:
        self.client = client(url)
        self.client.call_s3("create_bucket", Bucket="bucket")

    def keys(self) -> list[str]:
        listed = self.client.call_s3("list_objects_v2", Bucket="bucket")
        return [found["Key"] for found in listed.get("Contents", [])]

    def uploads(self) -> list[Any]:
        uploads: list[Any] = self.client.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads", [])
        return uploads

    def empty(self) -> None:
        for key in self.keys():
            self.client.call_s3("delete_object", Bucket="bucket", Key=key)

"""AWS Secrets Manager, by moto's server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

READER = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}],
}


class SecretsManager:
    """An AWS account's Secrets Manager, in one region."""

    uri = "aws-secrets-manager://makini/acme?region=eu-central-1"
    _place = "makini/acme"

    def __init__(self) -> None:
        self._start(0)
        _, self.port = self._server.get_host_and_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _start(self, port: int) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        self._server.start()

    @contextmanager
    def running(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            requests.post(f"{self.url}/moto-api/reset", timeout=10)
            yield

    def close(self) -> None:
        self._server.stop()

    @contextmanager
    def down(self) -> Iterator[None]:
        self._server.stop()
        yield
        self._start(self.port)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        iam = self._client("iam")
        iam.create_user(UserName="reader")
        iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=json.dumps(READER))
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
            patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            requests.post(f"{self.url}/moto-api/reset-auth", data="0", timeout=10)
            yield
        requests.post(f"{self.url}/moto-api/reset-auth", data="Infinity", timeout=10)

    def keep(self, name: str, text: str) -> None:
        """Write a secret's newest version."""
        manager = self._client("secretsmanager")
        try:
            manager.create_secret(Name=name, SecretString=text)
        except manager.exceptions.ResourceExistsException:
            manager.put_secret_value(SecretId=name, SecretString=text)

    def put(self, text: str) -> None:
        self.keep(self._place, text)

    def text(self) -> str | None:
        manager = self._client("secretsmanager")
        try:
            text: str = manager.get_secret_value(SecretId=self._place)["SecretString"]
        except manager.exceptions.ResourceNotFoundException:
            return None
        return text

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name="eu-central-1",
            endpoint_url=self.url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

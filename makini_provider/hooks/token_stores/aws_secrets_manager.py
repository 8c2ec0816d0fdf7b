"""Tokens in AWS Secrets Manager, through boto3."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from makini_provider.api.errors import MakiniError
from makini_provider.hooks.token_stores.document import Place, unreachable, unusable
from makini_provider.hooks.token_stores.location import Location
from makini_provider.hooks.token_stores.login import check_login

_CONFIG: Final = Config(
    connect_timeout=10, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3}
)
_DESCRIPTION: Final = "Tokens of a Makini connection; written by its Airflow provider."

# What a retry can't mend, by the API's error code.
# https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
_REMEDIES: Final = {
    "AccessDeniedException": "Allow this role secretsmanager:GetSecretValue, PutSecretValue and CreateSecret "
    "on the secret (and kms:Decrypt, kms:GenerateDataKey on its key, where it is one of yours).",
    "DecryptionFailure": "Allow this role kms:Decrypt on the secret's key.",
    "EncryptionFailure": "Allow this role kms:GenerateDataKey on the secret's key, which must be enabled.",
    "InvalidRequestException": "The secret may be marked for deletion: restore it (aws secretsmanager "
    "restore-secret), or give token_store another name.",
    "ValidationException": "Names of secrets have letters, digits and /_+=.@- only.",
    **dict.fromkeys(
        (
            "ExpiredTokenException",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "UnrecognizedClientException",
        ),
        "The AWS credentials that this process finds are not valid: renew them, and check its clock.",
    ),
}


def place(location: Location, conn_id: str) -> Place:  # noqa: ARG001
    """Return the secret that a URI names: ``aws-secrets-manager://[<aws_conn_id>@]<name>[?region=<region>]``.

    :raises MakiniConfigurationError: a part of it can't be used
    """
    location.allow_options("region")
    if not location.path:
        raise location.unusable("names no secret")
    return _Secret(location)


class _Secret:
    """One secret, whose newest version (``AWSCURRENT``) counts."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._id = location.path
        self._made: Any = None
        self.name = location.name

    def read(self) -> str | None:
        with self._failures("read"):
            try:
                answer = self._client().get_secret_value(SecretId=self._id)
            except ClientError as error:
                if _code(error) == "ResourceNotFoundException":
                    return None
                raise
        # A binary secret is none of ours.
        return str(answer.get("SecretString", ""))

    def write(self, text: str) -> None:
        with self._failures("written"):
            client = self._client()
            try:
                client.put_secret_value(SecretId=self._id, SecretString=text)
            except ClientError as error:
                if _code(error) != "ResourceNotFoundException":
                    raise
                client.create_secret(Name=self._id, SecretString=text, Description=_DESCRIPTION)

    def _client(self) -> Any:
        if self._made is None:
            region = self._location.options.get("region")
            aws_conn_id = self._location.airflow_conn_id
            if aws_conn_id is None:
                session = boto3.session.Session(region_name=region)
                self._made = session.client("secretsmanager", config=_CONFIG)
            else:
                self._made = _client_of_connection(self._location, aws_conn_id, region)
        return self._made

    @contextmanager
    def _failures(self, operation: str) -> Iterator[None]:
        try:
            with _unlogged():
                yield
        except MakiniError:
            raise
        except NoRegionError:
            raise unusable(
                self.name, operation, "no region is known", "Add '?region=…', or set AWS_REGION."
            ) from None
        except NoCredentialsError:
            raise unusable(
                self.name,
                operation,
                "there are no AWS credentials",
                "Give this process a role, or name an Airflow connection: aws-secrets-manager://aws_default@….",
            ) from None
        except ClientError as error:
            code = _code(error)
            if code in _REMEDIES:
                raise unusable(self.name, operation, code, _REMEDIES[code]) from None
            raise unreachable(self.name, operation, code, "Try again; then see AWS's health page.") from None
        except BotoCoreError as error:
            raise unreachable(
                self.name,
                operation,
                type(error).__name__,
                "Check the region, and that this machine reaches AWS Secrets Manager.",
            ) from None


def _client_of_connection(location: Location, aws_conn_id: str, region: str | None) -> Any:
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    except ModuleNotFoundError as error:
        raise location.unusable(
            f"names an Airflow connection, which needs the package {error.name!r}",
            "Install apache-airflow-providers-amazon; or leave out '<conn_id>@' for the credentials that "
            "boto3 finds by itself.",
        ) from None
    check_login(location.name, aws_conn_id)
    hook = AwsGenericHook(
        aws_conn_id=aws_conn_id, client_type="secretsmanager", region_name=region, config=_CONFIG
    )
    return hook.get_conn()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) or type(error).__name__


# botocore logs bodies at DEBUG, before the tokens in them can be known to what masks logs.
_here = local()


def _said_elsewhere(record: logging.LogRecord) -> bool:  # noqa: ARG001
    return not getattr(_here, "unlogged", False)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Drop what botocore logs in this thread."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "botocore":
            logging.getLogger(name).addFilter(_said_elsewhere)
    _here.unlogged = True
    try:
        yield
    finally:
        _here.unlogged = False

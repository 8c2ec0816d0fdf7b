"""Where rotating tokens are kept: whole or not at all, the latest wins, and nothing fails in silence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.log import redact
from secret_services import SecretService
from secret_services.aws import SecretsManager
from secret_services.azure import KeyVault
from secret_services.database import Database
from secret_services.vault import Vault

from makini_provider.api.errors import (
    MakiniConfigurationError,
    MakiniError,
    TokenStoreChangedError,
    TokenStoreError,
    TokenStoreUnusableError,
)
from makini_provider.api.token_pair import Refreshing, TokenPair, TokenStore
from makini_provider.hooks.makini import MakiniHook
from makini_provider.hooks.token_stores import open_token_store
from makini_provider.hooks.token_stores.login import check_login

NOW = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)
ACCESS, REFRESH = "access-4711-nobody-may-see", "refresh-4711-nobody-may-see"
PAIR = TokenPair(ACCESS, REFRESH, obtained_at=NOW, expires_at=NOW + timedelta(days=30))


@pytest.fixture(scope="module")
def aws() -> Iterator[SecretsManager]:
    account = SecretsManager()
    yield account
    account.close()


@pytest.fixture(params=["variable", "aws-secrets-manager", "vault", "azure-key-vault"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SecretService]:
    service: SecretService
    match request.param:
        case "variable":
            service = Database(tmp_path)
        case "aws-secrets-manager":
            service = request.getfixturevalue("aws")
        case "vault":
            service = Vault()
        case "azure-key-vault":
            service = KeyVault(tmp_path)
    with service.running():
        yield service


@pytest.fixture
def store(service: SecretService) -> TokenStore:
    return open_token_store(service.uri, conn_id="acme")


def shows_no_token(error: MakiniError) -> bool:
    """Neither the error nor what it says it comes from has one."""
    causes = [error, error.__cause__, *([] if error.__suppress_context__ else [error.__context__])]
    return not any(token in f"{cause!r} {cause}" for token in (ACCESS, REFRESH) for cause in causes)


def test_a_new_place_has_no_pair(store: TokenStore) -> None:
    assert store.load() is None


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(PAIR, id="whole"),
        pytest.param(TokenPair("", REFRESH, obtained_at=NOW), id="the refresh token only"),
        pytest.param(
            replace(PAIR, refreshing=Refreshing("me", NOW), seeds=("a1", "b2")), id="while it is refreshed"
        ),
    ],
)
def test_what_was_saved_is_loaded_by_whoever_opens_the_store(
    service: SecretService, store: TokenStore, pair: TokenPair
) -> None:
    store.save(pair)
    assert open_token_store(service.uri, conn_id="acme").load() == pair


def test_the_latest_pair_wins(store: TokenStore) -> None:
    for number in range(3):
        store.save(replace(PAIR, refresh_token=f"refresh-{number}"))
        loaded = store.load()
        assert loaded is not None
        assert loaded.refresh_token == f"refresh-{number}"


def test_both_tokens_are_kept_in_one_document(service: SecretService, store: TokenStore) -> None:
    store.save(PAIR)
    document = json.loads(service.text() or "")
    assert document["format_version"] == 1
    assert document["connection"] == "acme"
    assert document["tokens"]["access_token"] == ACCESS
    assert document["tokens"]["refresh_token"] == REFRESH


@pytest.mark.parametrize(
    "text",
    [
        "a password of another program",
        "{}",
        "[" * 5000,
        '{"format_version":2,"connection":"acme"}',
        '{"format_version":1,"connection":"acme","tokens":{"access_token":"' + ACCESS + '"}}',
        '{"format_version":1,"connection":"acme","tokens":{"access_token":"' + ACCESS + '",'
        '"refresh_token":"","obtained_at":"2026-11-24T08:00:00Z"}}',
        '{"format_version":1,"connection":"acme","tokens":{"access_token":"' + ACCESS + '",'
        '"refresh_token":"r","obtained_at":"2026-11-24T08:00:00"}}',
    ],
)
def test_what_is_no_pair_is_an_error_and_stays(service: SecretService, store: TokenStore, text: str) -> None:
    service.put(text)
    with pytest.raises(TokenStoreUnusableError, match=r"holds something that is not a pair") as caught:
        store.load()
    assert store.name in str(caught.value)
    assert shows_no_token(caught.value)
    assert service.text() == text


def test_the_pair_of_another_connection_is_refused(service: SecretService, store: TokenStore) -> None:
    store.save(PAIR)
    other = open_token_store(service.uri, conn_id="other")
    with pytest.raises(TokenStoreUnusableError, match=r"the tokens of connection 'acme', not of 'other'"):
        other.load()


def test_a_store_that_is_down_is_an_error_that_a_retry_may_mend(
    service: SecretService, store: TokenStore
) -> None:
    store.save(PAIR)
    with service.down():
        for operation in (store.load, lambda: store.save(replace(PAIR, access_token="a2"))):
            with pytest.raises(TokenStoreError, match=re.escape(store.name)) as caught:
                operation()
            assert caught.value.retryable
            assert caught.value.remedy
            assert shows_no_token(caught.value)
    assert store.load() == PAIR


def test_what_may_only_be_read_can_t_be_written(service: SecretService, store: TokenStore) -> None:
    store.save(PAIR)
    with service.read_only():
        reader = open_token_store(service.uri, conn_id="acme")
        assert reader.load() == PAIR
        with pytest.raises(TokenStoreError, match=r"can't be written") as caught:
            reader.save(replace(PAIR, access_token="access-2"))
    assert caught.value.remedy
    assert shows_no_token(caught.value)
    assert store.load() == PAIR


def test_nothing_that_is_shown_of_a_store_is_secret(store: TokenStore) -> None:
    store.save(PAIR)
    shown = f"{store!r} {store} {store.name} {store.load()!r}"
    assert ACCESS not in shown
    assert REFRESH not in shown


class Supervisor:
    """What a task asks its supervisor for, where that could not reach the API server."""

    def __init__(self, answer: ErrorResponse, *, raises: bool) -> None:
        self._answer = answer
        self._raises = raises

    def send(self, message: object) -> ErrorResponse:
        if self._raises:
            raise AirflowRuntimeError(self._answer)
        return self._answer


@pytest.mark.parametrize("raises", [False, True], ids=["told", "raised"])
def test_a_variable_that_could_not_be_asked_for_in_a_task_is_not_taken_for_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    error = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"value": ACCESS})
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(error, raises=raises), raising=False)
    store = open_token_store("variable://", conn_id="acme")
    for operation in (store.load, lambda: store.save(PAIR)) if raises else (store.load,):
        with pytest.raises(TokenStoreError, match=r"can't be (read|written): API_SERVER_ERROR\.") as caught:
            operation()
        assert caught.value.retryable
        assert shows_no_token(caught.value)


def test_a_variable_that_is_missing_is_no_pair_in_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": "makini_acme_tokens"})
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(error, raises=False), raising=False)
    assert open_token_store("variable://", conn_id="acme").load() is None


def test_a_pair_is_not_kept_over_one_that_another_has_kept_meanwhile() -> None:
    vault = Vault()
    with vault.running():
        ours, theirs = (open_token_store(vault.uri, conn_id="acme") for _ in range(2))
        assert ours.load() is theirs.load() is None
        theirs.save(PAIR)
        with pytest.raises(TokenStoreChangedError, match=r"somebody else wrote there meanwhile"):
            ours.save(replace(PAIR, access_token="older"))
        assert ours.load() == PAIR
        ours.save(replace(PAIR, access_token="newer"))
        assert json.loads(vault.text() or "")["tokens"]["access_token"] == "newer"


def test_a_secret_that_was_deleted_in_vault_is_no_pair_and_can_be_written_again() -> None:
    vault = Vault()
    with vault.running():
        store = open_token_store(vault.uri, conn_id="acme")
        store.save(PAIR)
        vault.delete("makini/acme")
        assert store.load() is None
        store.save(PAIR)
        assert store.load() == PAIR


def test_a_mount_that_vault_does_not_have_is_not_taken_for_an_empty_one() -> None:
    vault = Vault()
    with vault.running():
        store = open_token_store("vault://kv/makini/acme", conn_id="acme")
        for operation in (store.load, lambda: store.save(PAIR)):
            with pytest.raises(TokenStoreUnusableError, match=r"'kv' is no mount of a key/value engine"):
                operation()


def test_a_vault_token_that_is_not_valid_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Vault().running():
        monkeypatch.setenv("VAULT_TOKEN", "hvs.another")
        with pytest.raises(
            TokenStoreUnusableError, match=r"can't be read: permission denied\. .*VAULT_TOKEN"
        ):
            open_token_store(Vault.uri, conn_id="acme").load()


def test_aws_without_a_region_or_credentials_is_told(
    aws: SecretsManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with aws.running():
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        with pytest.raises(TokenStoreUnusableError, match=r"no region is known\. Add '\?region=…'"):
            open_token_store("aws-secrets-manager://makini", conn_id="acme").load()
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(TokenStoreUnusableError, match=r"there are no AWS credentials"):
            open_token_store(aws.uri, conn_id="acme").load()


def test_azure_without_an_identity_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with KeyVault(tmp_path).running():
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
        monkeypatch.delenv("AZURE_CLIENT_SECRET")
        with pytest.raises(TokenStoreUnusableError, match=r"CredentialUnavailableError|ClientAuth"):
            open_token_store(KeyVault.uri, conn_id="acme").load()


def test_what_aws_is_asked_and_answers_is_not_logged(
    aws: SecretsManager, caplog: pytest.LogCaptureFixture
) -> None:
    with aws.running(), caplog.at_level("DEBUG"):
        store = open_token_store(aws.uri, conn_id="acme")
        store.save(PAIR)
        assert store.load() == PAIR
        assert ACCESS not in caplog.text
        # What others ask is.
        assert ACCESS in (aws.text() or "")
        assert ACCESS in caplog.text


@pytest.mark.parametrize(
    ("uri", "package", "extra"),
    [
        ("aws-secrets-manager://makini", "boto3", "aws"),
        ("vault://secret/makini", "hvac", "vault"),
        ("azure-key-vault://my-vault/makini-acme", "azure.core", "azure-key-vault"),
    ],
)
def test_a_client_that_is_not_installed_is_named_with_its_extra(
    uri: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("makini_provider.hooks.token_stores.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(package), *sys.meta_path])
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MakiniConfigurationError) as caught:
        open_token_store(uri, conn_id="acme")
    assert f"needs the package '{package}" in str(caught.value)
    assert f"pip install 'airflow-provider-makini[{extra}]'" in str(caught.value)


def test_no_client_is_imported_before_its_store_is_used() -> None:
    looks = (
        "import sys, makini_provider.hooks.makini, makini_provider.hooks.token_stores; "
        "print(sorted({'boto3', 'botocore', 'hvac', 'azure'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


class _Without:
    """An environment that lacks a package."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, *_: object) -> None:
        if name == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("makini_acme_tokens", r"token_store is not a URI\."),
        ("redis://tokens", r"no such kind of store; known are variable, aws-secrets-manager, vault, azure"),
        ("aws-secrets-manager://", r"names no secret"),
        ("aws-secrets-manager://makini?regoin=x", r"the option 'regoin', .* Did you mean 'region'\?"),
        ("vault://secret", r"must name a mount and a path below it"),
        ("azure-key-vault://makini", r"must name a vault and a secret in it"),
        ("azure-key-vault://makini/acme_1", r"names a secret that Key Vault can't have"),
        ("azure-key-vault://x:y/acme", r"names a vault with characters that none can have"),
        ("variable://user:pass@tokens", r"contains a password"),
        ("variable://tokens?ttl=1", r"has the option 'ttl', which is not known"),
        ("variable://aws_default@tokens", r"names an Airflow connection before '@'"),
        ("variable://makini_acme", r"whose value Airflow would show in the UI"),
        ("variable://" + "token" * 51, r"more than 250 characters"),
    ],
)
def test_a_uri_that_can_t_be_used_is_told(uri: str, message: str) -> None:
    with pytest.raises(MakiniConfigurationError, match=message) as caught:
        open_token_store(uri, conn_id="acme")
    assert caught.value.remedy


def test_a_variable_without_a_name_is_named_after_the_connection() -> None:
    assert open_token_store("variable://", conn_id="acme").name == "variable:makini_acme_tokens"


def test_messages_name_the_store_although_airflow_masks_what_the_connection_calls_a_token(
    service: SecretService, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        "conn_type": "makini",
        "login": "id",
        "password": "cs-4711",
        "extra": {"token_store": service.uri},
    }
    monkeypatch.setenv("AIRFLOW_CONN_ACME", json.dumps(fields))
    assert MakiniHook("acme").settings
    name = open_token_store(service.uri, conn_id="acme").name
    assert service.uri not in redact(service.uri)
    assert redact(f"token store {name!r} can't be read.") == f"token store {name!r} can't be read."


def test_the_security_page_explains_each_message(aws: SecretsManager, tmp_path: Path) -> None:
    said = []

    def fails(operation: Callable[[], object]) -> None:
        with pytest.raises(MakiniError) as caught:
            operation()
        said.append(caught.value.message)

    def store(uri: str, conn_id: str = "acme") -> TokenStore:
        return open_token_store(uri, conn_id=conn_id)

    database, vault = Database(tmp_path), Vault()
    with database.running(), vault.running(), pytest.MonkeyPatch.context() as patch:
        with database.down():
            fails(store(database.uri).load)
            fails(lambda: store(database.uri).save(PAIR))
        fails(lambda: check_login("vault:gone@secret/makini", "gone"))
        database.put("another program's")
        fails(store(database.uri).load)
        ours, theirs = store(vault.uri), store(vault.uri)
        ours.load()
        theirs.save(PAIR)
        fails(lambda: ours.save(PAIR))
        fails(store(vault.uri, "other").load)
        patch.setattr("makini_provider.hooks.token_stores.variable._database_write", lambda *_: None)
        fails(lambda: store(database.uri).save(PAIR))
        patch.setattr(sys, "meta_path", [_Without("hvac"), *sys.meta_path])
        for name in ("hvac", "makini_provider.hooks.token_stores.hashicorp_vault"):
            patch.delitem(sys.modules, name)
        fails(lambda: store(vault.uri))

    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    table = page.partition("### When a store fails\n")[2].partition("\n## ")[0]
    texts = [row.split("|")[1].strip() for row in table.splitlines()[3:] if row]
    patterns = [re.sub(r"'\w'", "'.+'", re.escape(text)).replace("…", ".+") for text in texts]
    for pattern in patterns:
        assert any(re.search(pattern, message) for message in said), pattern
    for message in said:
        assert any(re.search(pattern, message) for pattern in patterns), message

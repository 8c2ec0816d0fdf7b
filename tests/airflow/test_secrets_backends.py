"""A sync gets its connection from any secrets backend of Airflow, set up as docs/security.md says."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from airflow_home import ROOT, AirflowHome, DagRunner, dag_runner
from landing import Landing
from secret_services.aws import SecretsManager
from secret_services.azure import KeyVault
from secret_services.vault import TOKEN as VAULT_TOKEN
from secret_services.vault import Vault

from makini_provider.sandbox import Sandbox

pytestmark = pytest.mark.airflow

# Without what they require: Azure's alone would bring fifty packages, of which a backend uses the last three.
PROVIDERS = (
    "apache-airflow-providers-amazon==9.39.0",
    "apache-airflow-providers-hashicorp==4.8.4",
    "apache-airflow-providers-microsoft-azure==15.2.1",
    "msrest==0.7.1",
    "requests-oauthlib==2.0.0",
    "oauthlib==4.0.1",
)
Connection = dict[str, str]
SECRET = "tok-that-a-backend-keeps-4713"


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Airflow's providers of the clouds, beside those that are installed."""
    folder = tmp_path_factory.mktemp("providers")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*command, *PROVIDERS], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=9, token=SECRET, records=30) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def connection(sandbox: Sandbox) -> Connection:
    return {"conn_type": "makini", "host": sandbox.url, "password": SECRET}


def documented(heading: str, instead: Mapping[str, str]) -> dict[str, str]:
    """The environment that stands for the ``airflow.cfg`` of a section of the page.

    :param instead: what to put in place of addresses and paths of the example
    """
    page = (ROOT / "docs" / "security.md").read_text()
    section = page.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    (block,) = re.findall(r"```ini\n(.*?)```", section, re.DOTALL)
    for old, new in instead.items():
        assert old in block
        block = block.replace(old, new)
    config = configparser.ConfigParser()
    config.read_string(block)
    return {f"AIRFLOW__SECRETS__{key.upper()}": value for key, value in config["secrets"].items()}


def sync(home: AirflowHome, environment: Mapping[str, str], tmp_path: Path) -> None:
    """Run a DAG in an Airflow of this environment: it must read the API, and show no token."""
    landing = Landing(tmp_path / "landing")
    with dag_runner(home, **environment) as runner:
        run = runner.run(
            "makini_initial_sync", {"MAKINI_RESOURCES": "eam/work-orders", "MAKINI_DESTINATION": landing.uri}
        )
    assert run.state == "success", run.output
    assert landing.records("eam/work-orders")
    assert SECRET not in run.output


def test_the_environment(runner: DagRunner, connection: Connection, tmp_path: Path) -> None:
    landing = Landing(tmp_path / "landing")
    environment = {
        "AIRFLOW_CONN_MAKINI_DEFAULT": json.dumps(connection),
        "MAKINI_RESOURCES": "eam/work-orders",
        "MAKINI_DESTINATION": landing.uri,
    }
    assert runner.run("makini_initial_sync", environment).state == "success"
    assert landing.records("eam/work-orders")


def test_a_local_file(airflow_home: AirflowHome, connection: Connection, tmp_path: Path) -> None:
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"makini_default": connection}))
    environment = documented("A local file", {"/opt/airflow/secrets/connections.json": str(file)})
    sync(airflow_home, environment, tmp_path)


def test_aws_secrets_manager(
    airflow_home: AirflowHome, providers: Path, connection: Connection, tmp_path: Path
) -> None:
    aws = SecretsManager()
    with aws.running():
        aws.keep("airflow/connections/makini_default", json.dumps(connection))
        environment = documented("AWS Secrets Manager", {}) | aws.environment
        sync(airflow_home, environment | {"PYTHONPATH": str(providers)}, tmp_path)
    aws.close()


def test_hashicorp_vault(
    airflow_home: AirflowHome, providers: Path, connection: Connection, tmp_path: Path
) -> None:
    vault = Vault()
    token = tmp_path / "token"
    token.write_text(VAULT_TOKEN)
    with vault.running():
        vault.keep("connections/makini_default", connection)
        examples = {
            "https://vault.example.com:8200": vault.environment["VAULT_ADDR"],
            "/vault/token": str(token),
        }
        environment = documented("HashiCorp Vault", examples)
        sync(airflow_home, environment | {"PYTHONPATH": str(providers)}, tmp_path)


def test_azure_key_vault(
    airflow_home: AirflowHome, providers: Path, connection: Connection, tmp_path: Path
) -> None:
    vault = KeyVault(tmp_path)
    with vault.running():
        vault.secrets["airflow-connections-makini-default"] = json.dumps(connection)
        environment = documented("Azure Key Vault", {}) | vault.environment
        sync(airflow_home, environment | {"PYTHONPATH": str(providers)}, tmp_path)


KEEPS_TOKENS = """
import sys
from datetime import UTC, datetime
from makini_provider.api.token_pair import TokenPair
from makini_provider.hooks.token_stores import open_token_store

store = open_token_store(sys.argv[1], conn_id="acme")
assert store.load() is None
store.save(TokenPair("access-4711", "refresh-4711", datetime(2026, 11, 24, tzinfo=UTC)))
print("kept", store.load().obtained_at)
"""


def test_a_token_store_logs_in_as_an_airflow_connection_says(
    airflow_home: AirflowHome, providers: Path
) -> None:
    aws, vault = SecretsManager(), Vault()
    with aws.running(), vault.running():
        connections = {
            "AIRFLOW_CONN_MY_AWS": json.dumps(
                {
                    "conn_type": "aws",
                    "login": "testing",
                    "password": "testing",
                    "extra": {"endpoint_url": aws.url},
                }
            ),
            "AIRFLOW_CONN_MY_VAULT": json.dumps(
                {"conn_type": "vault", "host": "127.0.0.1", "port": vault.port, "password": VAULT_TOKEN}
            ),
        }
        for uri in (
            "aws-secrets-manager://my_aws@makini/acme?region=eu-central-1",
            "vault://my_vault@secret/makini/acme",
        ):
            done = airflow_home.command(
                sys.executable, "-c", KEEPS_TOKENS, uri, PYTHONPATH=str(providers), **connections
            )
            assert "kept 2026-11-24" in done.output, done.output
        for uri in ("aws-secrets-manager://gone@makini/acme?region=eu-central-1", "vault://gone@secret/acme"):
            done = airflow_home.command(
                sys.executable, "-c", KEEPS_TOKENS, uri, PYTHONPATH=str(providers), **aws.environment
            )
            name = uri.replace("://", ":")
            assert f"token store '{name}' can't be opened: Airflow finds no connection 'gone'." in done.output
        assert "access-4711" in (aws.text() or "")
        assert "access-4711" in (vault.text() or "")
    aws.close()

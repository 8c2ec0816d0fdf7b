"""What each field of a connection means, and what is said when it is unusable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.hooks.connection import ConnectionSettings, read_settings
from makini_provider.hooks.credentials import ApiToken, ClientCredentials, RefreshToken

TOKEN = "tok-4711-of-the-tests"


def settings(**fields: Any) -> ConnectionSettings:
    return read_settings(**{"conn_id": "acme", "password": TOKEN, **fields})


def extra(**values: Any) -> ConnectionSettings:
    return settings(extra=json.dumps(values))


def error_of(**fields: Any) -> str:
    with pytest.raises(MakiniConfigurationError) as caught:
        settings(**fields)
    assert caught.value.remedy, "an error says what to do"
    assert "'acme'" in str(caught.value), "an error names the connection"
    return str(caught.value)


# Where the API is.


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://api.makini.io"),
        ({"host": "  "}, "https://api.makini.io"),
        ({"schema": "http"}, "https://api.makini.io"),
        ({"host": "api.example.com"}, "https://api.example.com"),
        ({"host": "API.Example.com"}, "https://api.example.com"),
        ({"host": "api.example.com", "port": 8443}, "https://api.example.com:8443"),
        ({"host": "api.example.com", "port": 0}, "https://api.example.com"),
        ({"host": "https://api.example.com", "port": 8443}, "https://api.example.com:8443"),
        ({"host": "https://api.example.com:8443"}, "https://api.example.com:8443"),
        ({"host": "https://api.example.com:8443", "port": 8443}, "https://api.example.com:8443"),
        ({"host": "https://api.example.com/"}, "https://api.example.com"),
        ({"host": "https://proxy.example.com/makini/"}, "https://proxy.example.com/makini"),
        ({"host": "localhost", "schema": "http", "port": 8080}, "http://localhost:8080"),
        ({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080"),
        ({"host": "::1", "schema": "http", "port": 8080}, "http://[::1]:8080"),
        ({"host": "http://[::1]:8080"}, "http://[::1]:8080"),
    ],
)
def test_base_url_comes_from_host_schema_and_port(fields: dict[str, Any], url: str) -> None:
    assert settings(**fields).base_url == url


def test_plain_http_to_another_machine_is_refused() -> None:
    assert "'allow_http'" in error_of(host="http://api.example.com")
    assert "'allow_http'" in error_of(host="api.example.com", schema="http")


@pytest.mark.parametrize("allow", [True, "true", "True"])
def test_plain_http_to_another_machine_can_be_allowed(allow: object) -> None:
    assert (
        settings(host="http://makini.internal", extra={"allow_http": allow}).base_url
        == "http://makini.internal"
    )


@pytest.mark.parametrize(
    "host",
    [
        "ftp://api.example.com",
        "https://",
        "https://api.example.com?x=1",
        "https://api.example.com?",
        "https://api.example.com#x",
        "https://api.example.com/../x",
        "https://api.example.com//x",
        "https://api example.com",
        "https://api.example.com\\x",
        "https://api.example.com:port",
        "https://api.example.com:99999",
        "https://[::1",
        "https://ümlaut.example.com",
    ],
)
def test_an_unusable_host_is_refused(host: str) -> None:
    assert "the host" in error_of(host=host)


def test_two_different_ports_are_refused() -> None:
    assert "443" in error_of(host="https://api.example.com:443", port=8443)


def test_credentials_in_the_host_are_refused_and_not_shown() -> None:
    message = error_of(host="https://user:hunter22@api.example.com")
    assert "hunter22" not in message


# Who asks.


@pytest.mark.parametrize("password", [None, ""])
def test_a_missing_token_names_the_places_to_put_it(password: str | None) -> None:
    message = error_of(password=password)
    assert "API token" in message
    assert 'AIRFLOW_CONN_ACME=\'{"conn_type": "makini", "password": "<token>"}\'' in message
    assert "secrets backend" in message


@pytest.mark.parametrize("password", [f"Bearer {TOKEN}", f"{TOKEN}\n", "tökén-with-umlauts"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(password: str) -> None:
    message = error_of(password=password)
    assert password.strip() not in message
    assert TOKEN not in message


def test_settings_show_no_secret() -> None:
    shown = repr(extra(proxies={"https": "http://user:hunter22@proxy.example:3128"}))
    assert TOKEN not in shown
    assert "hunter22" not in shown


APPLICATION = {"login": "client-id", "password": "cs-0815-secret"}
SEED = "rt-0815-secret"
STORE = "variable://makini_acme_tokens"
REFRESHING = {**APPLICATION, "extra": {"refresh_token": SEED, "token_store": STORE}}


def test_a_password_alone_is_an_api_token() -> None:
    assert settings().credentials == ApiToken(TOKEN)


def test_a_login_makes_the_password_a_client_secret() -> None:
    assert settings(**APPLICATION).credentials == ClientCredentials("client-id", "cs-0815-secret", None)


def test_the_makini_connection_of_the_argument_comes_before_that_of_the_extra() -> None:
    named = settings(**APPLICATION, extra={"makini_connection": "0900"})
    assert named.credentials == ClientCredentials("client-id", "cs-0815-secret", "0900")
    other = settings(**APPLICATION, extra={"makini_connection": "0900"}, makini_connection="0901")
    assert other.credentials == ClientCredentials("client-id", "cs-0815-secret", "0901")
    number = settings(**APPLICATION, extra={"makini_connection": 900})
    assert number.credentials == ClientCredentials("client-id", "cs-0815-secret", "900")


def test_a_refresh_token_needs_no_auth_to_be_named() -> None:
    expected = RefreshToken("client-id", "cs-0815-secret", SEED, STORE)
    assert settings(**REFRESHING).credentials == expected
    named = {**REFRESHING, "extra": {**REFRESHING["extra"], "auth": "refresh_token"}}  # type: ignore[dict-item]
    assert settings(**named).credentials == expected


def test_a_store_that_has_a_pair_needs_no_refresh_token() -> None:
    found = settings(**APPLICATION, extra={"token_store": STORE}).credentials
    assert found == RefreshToken("client-id", "cs-0815-secret", None, STORE)


def test_no_credentials_show_a_secret() -> None:
    for fields in ({}, APPLICATION, REFRESHING):
        shown = repr(settings(**fields))
        assert not [secret for secret in (TOKEN, "cs-0815-secret", SEED) if secret in shown]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"login": "client-id", "extra": {"auth": "token"}}, "login"),
        ({"extra": {"auth": "token", "refresh_token": SEED}}, "extra 'refresh_token'"),
        ({"extra": {"auth": "token", "token_store": STORE}}, "extra 'token_store'"),
        ({"extra": {"auth": "token", "makini_connection": "0900"}}, "makini_connection"),
        ({"makini_connection": "0900"}, "makini_connection"),
        ({**REFRESHING, "makini_connection": "0900"}, "makini_connection"),
        (
            {**APPLICATION, "extra": {"auth": "client_credentials", "refresh_token": SEED}},
            "extra 'refresh_token'",
        ),
        (
            {**APPLICATION, "extra": {"auth": "client_credentials", "token_store": STORE}},
            "extra 'token_store'",
        ),
    ],
)
def test_two_kinds_of_credentials_at_once_are_refused(fields: dict[str, Any], named: str) -> None:
    message = error_of(**fields)
    assert f"{named} is set" in message
    assert not [secret for secret in (TOKEN, "cs-0815-secret", SEED) if secret in message]


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"extra": {"auth": "client_credentials"}}, "login is empty"),
        ({"login": "client-id", "password": None}, "the password is empty"),
        ({"extra": {"refresh_token": SEED, "token_store": STORE}}, "login is empty"),
        ({**REFRESHING, "password": ""}, "the password is empty"),
        ({"login": "client-id", "password": "cs-0815-secret\n"}, "ends with white space or a line break"),
        ({**APPLICATION, "extra": {"refresh_token": SEED}}, "extra 'token_store'"),
        ({**APPLICATION, "extra": {"auth": "refresh_token"}}, "extra 'token_store'"),
    ],
)
def test_a_part_that_is_missing_or_damaged_is_named(fields: dict[str, Any], missing: str) -> None:
    message = error_of(**fields)
    assert missing in message
    assert not [secret for secret in (TOKEN, "cs-0815-secret", SEED) if secret in message]


@pytest.mark.parametrize("key", ["makini_connection", "refresh_token", "token_store"])
def test_a_part_that_is_no_text_is_refused_and_not_shown(key: str) -> None:
    message = error_of(**APPLICATION, extra={key: ["hunter22"]})
    assert f"{key!r} must be text, and is a list" in message
    assert "hunter22" not in message


def test_a_dialect_that_a_later_release_brings_is_refused_as_such() -> None:
    assert "a later release" in error_of(extra={"dialect": "cursor"})


@pytest.mark.parametrize("values", [{"auth": "token"}, {"auth": "Token"}, {"dialect": "published"}])
def test_what_is_the_default_may_be_named(values: dict[str, Any]) -> None:
    assert settings(extra=values).warnings == ()


@pytest.mark.parametrize("values", [{"auth": "basic"}, {"auth": 1}, {"dialect": "graphql"}])
def test_an_unknown_way_in_or_dialect_is_refused(values: dict[str, Any]) -> None:
    assert repr(next(iter(values))) in error_of(extra=values)


# How it is asked.


def test_defaults() -> None:
    found = settings()
    assert (found.page_size, found.max_parallel_requests, found.requests_per_minute) == (100, 4, None)
    assert (found.transport.timeout, found.transport.verify, found.transport.proxies) == (60.0, True, {})
    assert found.warnings == ()


def test_values_may_come_as_text() -> None:
    found = extra(
        page_size="50", max_parallel_requests=" 2 ", requests_per_minute="60", timeout="7.5", verify="true"
    )
    assert (found.page_size, found.max_parallel_requests, found.requests_per_minute) == (50, 2, 60)
    assert (found.transport.timeout, found.transport.verify) == (7.5, True)


def test_empty_fields_of_the_form_mean_the_default() -> None:
    keys = (
        "page_size",
        "max_parallel_requests",
        "requests_per_minute",
        "timeout",
        "verify",
        "proxies",
        "allow_http",
    )
    for empty in (None, ""):
        found = extra(**dict.fromkeys(keys, empty))
        assert (found.page_size, found.transport.verify, found.warnings) == (100, True, ())


@pytest.mark.parametrize("key", ["page_size", "max_parallel_requests", "requests_per_minute"])
@pytest.mark.parametrize("value", [0, -1, "0", "abc", "1e3", 1.5, True, [1], {"a": 1}])
def test_a_whole_number_is_at_least_one(key: str, value: object) -> None:
    message = error_of(extra={key: value})
    assert f"'{key}' must be a whole number of at least 1, not" in message


@pytest.mark.parametrize("value", [0, -1, "abc", "nan", "inf", True, [1]])
def test_a_timeout_is_above_zero(value: object) -> None:
    assert "'timeout' must be a number of seconds above 0, not" in error_of(extra={"timeout": value})


def test_what_is_wrong_is_shown_unless_it_could_be_a_secret() -> None:
    assert "not 0." in error_of(extra={"page_size": 0})
    assert "not 'abc'." in error_of(extra={"page_size": "abc"})
    message = error_of(extra={"page_size": TOKEN})
    assert TOKEN not in message
    assert "a text of 21 characters" in message


@pytest.mark.parametrize("value", [False, "false", "False"])
def test_tls_verification_can_be_switched_off_and_that_is_warned_of(value: object) -> None:
    found = settings(extra={"verify": value})
    assert found.transport.verify is False
    assert "'verify' is false" in found.warnings[0]


def test_verify_takes_a_ca_bundle_that_exists(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert extra(verify=str(bundle)).transport.verify == str(bundle)
    assert "no file" in error_of(extra={"verify": str(tmp_path / "missing.pem")})


@pytest.mark.parametrize("value", [1, ["ca.pem"]])
def test_verify_takes_nothing_else(value: object) -> None:
    assert "'verify'" in error_of(extra={"verify": value})


def test_allow_http_is_true_or_false() -> None:
    assert "'allow_http' must be true or false, not 'yes'." in error_of(extra={"allow_http": "yes"})


def test_proxies_are_urls_by_scheme_also_as_json_text() -> None:
    proxies = {"https": "http://proxy.example:3128"}
    assert extra(proxies=proxies).transport.proxies == proxies
    assert extra(proxies=json.dumps(proxies)).transport.proxies == proxies


@pytest.mark.parametrize(
    "value",
    [
        "http://u:hunter22@proxy",
        ["hunter22"],
        {"https": {"u": "hunter22"}},
        {"https": "http://u:hunter22@[::1"},
        {"https": "http://u:hunter22@pr\u2100xy"},
    ],
)
def test_other_proxies_are_refused_and_not_shown(value: object) -> None:
    message = error_of(extra={"proxies": value})
    assert "'proxies' must be an object" in message
    assert "hunter22" not in message


# Extra as a whole.


@pytest.mark.parametrize(
    ("text", "kind"),
    [("{not json hunter22", "no JSON"), ("[1]", "a list"), ('"hunter22"', "a text"), ("7", "a number")],
)
def test_extra_must_be_a_json_object(text: str, kind: str) -> None:
    message = error_of(extra=text)
    assert f"extra must be a JSON object, and is {kind}" in message
    assert "hunter22" not in message


def test_an_unknown_key_is_warned_of_with_the_nearest_known_one_and_without_its_value() -> None:
    found = extra(pagesize="hunter22", **{"X-Api-Key": "hunter23"})
    assert len(found.warnings) == 2
    assert "'pagesize'" in found.warnings[0]
    assert "Did you mean 'page_size'?" in found.warnings[0]
    assert "hunter2" not in " ".join(found.warnings)

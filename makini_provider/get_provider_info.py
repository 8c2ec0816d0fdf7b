"""What Airflow reads of the provider: its connection type and the form to fill one in."""

from __future__ import annotations

from typing import Any

from makini_provider import __version__

_INTEGRATION = "Makini"


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, as ``provider_info.schema.json`` of Airflow describes it."""
    return {
        "package-name": "airflow-provider-makini",
        "name": _INTEGRATION,
        "description": "`Makini <https://www.makini.io/>`__: one API over hundreds of CMMS/EAM, ERP and WMS "
        "systems.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://www.makini.io/",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {"integration-name": _INTEGRATION, "python-modules": ["makini_provider.hooks.makini"]},
        ],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    "makini_provider.operators.gate",
                    "makini_provider.operators.health",
                    "makini_provider.operators.rotation",
                    "makini_provider.operators.sync",
                    "makini_provider.operators.webhooks",
                ],
            },
        ],
        "triggers": [
            {"integration-name": _INTEGRATION, "python-modules": ["makini_provider.triggers.inbox"]},
        ],
        "cli": ["makini_provider.cli.airflow_commands.get_commands"],
        "connection-types": [
            {
                "connection-type": "makini",
                "hook-class-name": "makini_provider.hooks.makini.MakiniHook",
                "hook-name": "Makini",
                "ui-field-behaviour": {
                    # The host carries the scheme.
                    "hidden-fields": ["schema"],
                    "relabeling": {"login": "Client id", "password": "API token or client secret"},
                    "placeholders": {
                        "host": "https://api.makini.io",
                        "port": "443",
                        "login": "Of an application; empty with an API token",
                        "password": "Token of one Makini connection, or the application's secret",
                    },
                },
                "conn-fields": _conn_fields(),
            }
        ],
    }


def _conn_fields() -> dict[str, Any]:
    """Fields of the form that are kept in the connection's ``extra``; all may be left empty."""
    return {
        "auth": {
            "label": "Way in",
            "description": "token, client_credentials or refresh_token. Default: by what is filled in.",
            "schema": {
                "type": ["string", "null"],
                "enum": ["token", "client_credentials", "refresh_token", None],
                "values_display": {
                    "token": "API token",
                    "client_credentials": "Client credentials",
                    "refresh_token": "Refresh token",
                    "None": "By what is filled in",
                },
            },
        },
        "makini_connection": {
            "label": "Makini connection",
            "description": "With a client id: the id of the Makini connection to read. Empty: operators name "
            "it, and the example DAGs read all.",
            "schema": {"type": ["string", "null"]},
        },
        "refresh_token": {
            "label": "Refresh token",
            "description": "The first one, as connecting the system gave it; it is used once. Needs a client "
            "id and a token store.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "token_store": {
            "label": "Token store",
            "description": "Where the tokens are kept that follow the first refresh token, such as "
            "variable://makini_acme_tokens.",
            "schema": {"type": ["string", "null"]},
        },
        "page_size": {
            "label": "Page size",
            "description": "Records asked for in one request; the API may give fewer. Default: 100.",
            "schema": {"type": ["integer", "null"], "minimum": 1},
        },
        "max_parallel_requests": {
            "label": "Parallel requests",
            "description": "How many requests one task may have under way at once. Default: 4.",
            "schema": {"type": ["integer", "null"], "minimum": 1},
        },
        "requests_per_minute": {
            "label": "Requests per minute",
            "description": "The most that one task sends. Default: no limit but the API's own.",
            "schema": {"type": ["integer", "null"], "minimum": 1},
        },
        "timeout": {
            "label": "Timeout (seconds)",
            "description": "Seconds to wait for the next byte of an answer. Default: 60.",
            "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
        },
        "verify": {
            "label": "Verify TLS",
            "description": "true (default), false, or the path of a CA bundle that every worker has.",
            "schema": {"type": ["string", "null"]},
        },
        "proxies": {
            "label": "Proxies",
            "description": 'Proxy URLs by scheme, such as {"https": "http://proxy.example:3128"}.',
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "allow_http": {
            "label": "Allow plain HTTP",
            "description": "Lets the token be sent unencrypted to another machine than this one.",
            "schema": {"type": ["boolean", "null"]},
        },
    }

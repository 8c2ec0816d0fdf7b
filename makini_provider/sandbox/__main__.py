"""``python -m makini_provider.sandbox``: serve a local Makini API until interrupted."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from datetime import UTC, datetime

from .server import DEFAULT_TOKEN, Sandbox, check_loopback
from .webhooks import WebhookSettings


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(text: str, least: int = 0) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"{text} is less than {least}")
    return number


def _page_size(text: str) -> int:
    return _number(text, least=1)


def _host(text: str) -> str:
    try:
        check_loopback(text)
    except ValueError as bad:
        raise argparse.ArgumentTypeError(str(bad)) from None
    return text


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m makini_provider.sandbox",
        description="Serve a local Makini API with invented data.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", type=_host, default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=_number, default=8765, help="0 for any free port")
    parser.add_argument("--token", default=DEFAULT_TOKEN, help="the bearer token that requests need")
    parser.add_argument("--seed", type=int, default=1, help="other seed, other data")
    parser.add_argument("--records", type=_number, default=1500, help="about how many work orders there are")
    parser.add_argument(
        "--max-per-page", type=_page_size, default=500, help="larger pages are cut to this size"
    )
    parser.add_argument("--days", type=_number, default=120, help="how far the data goes back")
    parser.add_argument(
        "--now", type=_moment, help="the time on the server's clock, ISO 8601 (default: real time)"
    )
    parser.add_argument("--webhook-url", help="send a webhook of each change there (default: none)")
    parser.add_argument(
        "--webhook-secret", default=WebhookSettings().secret, help="webhooks are signed with it"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    arguments = _arguments(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    given = vars(arguments)
    try:
        webhooks = WebhookSettings(url=given.pop("webhook_url"), secret=given.pop("webhook_secret"))
    except ValueError as bad:
        sys.stderr.write(f"--webhook-url: {bad}\n")
        return 2
    sandbox = Sandbox(**given, webhooks=webhooks)
    try:
        sandbox.start()
    except OSError as bad:
        sys.stderr.write(f"--port {arguments.port}: {bad.strerror}; --port 0 takes a free one\n")
        return 1
    sys.stdout.write(_greeting(sandbox))
    sys.stdout.flush()
    ended.wait()
    sandbox.stop()
    return 0


def _greeting(sandbox: Sandbox) -> str:
    connection = {"conn_type": "makini", "host": sandbox.url, "password": sandbox.token}
    application = {
        "conn_type": "makini",
        "host": sandbox.url,
        "login": sandbox.authority.client_id,
        "password": sandbox.authority.client_secret,
    }
    return (
        f"Makini sandbox: {sandbox.url}\n"
        f"Token: {sandbox.token}\n"
        "\n"
        "An Airflow connection to it:\n"
        f"  export AIRFLOW_CONN_MAKINI_DEFAULT='{json.dumps(connection)}'\n"
        "One for all customers of an application:\n"
        f"  export AIRFLOW_CONN_MAKINI_APP='{json.dumps(application)}'\n"
        "Look at some work orders:\n"
        f"  curl -g -H 'Authorization: Bearer {sandbox.token}' "
        f"'{sandbox.url}/api/eam/work-orders?per_page=2&sort[updatedAt]=1'\n"
        "Change data, so that an incremental sync has something to bring:\n"
        f"  curl -X POST -H 'Authorization: Bearer {sandbox.token}' "
        f'-d \'{{"updates": 40, "inserts": 10, "deletes": 3}}\' {sandbox.url}/_sandbox/changes\n'
        "Ctrl-C ends it; nothing is kept.\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())

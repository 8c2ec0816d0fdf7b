"""The page on webhooks says what the code does."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields

from makini_provider.webhooks import metrics, receiver
from makini_provider.webhooks.settings import ENDPOINT_KEYS, WebhookSettings

from .pages import DOCS, ROOT, blocks, first_cells, section
from .test_docs import _Recording

PAGE = DOCS / "webhooks.md"


def test_settings_are_those_of_the_page() -> None:
    environment = _Recording()
    WebhookSettings.from_environment(environment)
    read = {name for name in environment.asked if name.startswith("MAKINI_")}
    told = first_cells(section(PAGE, "Settings"))
    assert sorted(told) == sorted(read)
    assert len(told) == len(fields(WebhookSettings))


def test_defaults_are_those_of_the_page() -> None:
    settings = WebhookSettings.from_environment({})
    told = dict(
        re.findall(r"^\| `(MAKINI_\w+)` \|.*\| `([^`]+)` \|$", section(PAGE, "Settings"), re.MULTILINE)
    )
    assert told == {
        "MAKINI_WEBHOOK_MAX_BYTES": f"{settings.max_bytes}",
        "MAKINI_WEBHOOK_BODY_SECONDS": f"{settings.body_seconds:g}",
        "MAKINI_WEBHOOK_CACHE_SECONDS": f"{settings.cache_seconds:g}",
        "MAKINI_WEBHOOK_MAX_ATTEMPTS": f"{settings.max_attempts}",
        "MAKINI_WEBHOOK_RETENTION_DAYS": f"{settings.retention.days}",
        "MAKINI_WEBHOOK_PLUGIN": f"{settings.plugin}".lower(),
        "MAKINI_WEBHOOK_PLUGIN_RATE": f"{settings.plugin_rate:g}",
    }


def test_every_key_of_an_endpoint_is_on_the_page_and_no_other() -> None:
    assert sorted(first_cells(section(PAGE, "Endpoints"))) == sorted(ENDPOINT_KEYS)


def test_every_answer_and_every_reason_is_on_the_page() -> None:
    refusals = re.findall(r'Refusal\((\d+), "(\w+)"', inspect.getsource(receiver))
    told = first_cells(section(PAGE, "What the receiver answers"))
    assert sorted(told) == sorted({"200", *(status for status, _ in refusals)})
    (row,) = re.findall(r"^\| `makini.webhooks.rejected.<reason>` .*$", PAGE.read_text(), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == {reason for _, reason in refusals}


def test_every_metric_of_the_receiver_is_on_the_page() -> None:
    counted = re.findall(r'_count\("(\w+)"', inspect.getsource(receiver))
    others = re.findall(r'"\{PREFIX\}\.(\w+)"', inspect.getsource(metrics).replace('f"', '"'))
    told = first_cells(section(PAGE, "Watching it"))
    assert {f"makini.webhooks.{name}" for name in (*counted, *others)} <= set(told)


def test_health_has_the_fields_of_the_page() -> None:
    (example,) = (json.loads(block) for block in blocks(PAGE, "json"))
    source = inspect.getsource(receiver)
    assert {name for name in example if f'"{name}"' not in source} == set()


def test_the_commands_of_the_page_are_there() -> None:
    source = (ROOT / "makini_provider" / "cli" / "inbox.py").read_text()
    commands = re.findall(r"_add\(actions, \"(\w+)\"", source)
    assert (
        re.findall(r"^\$ python -m makini_provider inbox (\w+)", PAGE.read_text(), re.MULTILINE) == commands
    )

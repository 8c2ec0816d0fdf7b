"""
A local Makini API with invented data, for the demo, the tests and a first look.

On the command line: ``python -m makini_provider.sandbox``. In a test::

    with Sandbox(records=200, token="t") as sandbox:
        requests.get(f"{sandbox.url}/api/eam/work-orders", headers={"Authorization": "Bearer t"})
"""

from __future__ import annotations

from .access import make_token
from .behaviour import Behaviour
from .server import DEFAULT_TOKEN, Sandbox
from .store import Store
from .webhooks import WebhookSettings

__all__ = ["DEFAULT_TOKEN", "Behaviour", "Sandbox", "Store", "WebhookSettings", "make_token"]

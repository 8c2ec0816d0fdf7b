"""The receiver as an application of its own::

uvicorn makini_provider.webhooks.app:app
"""

from __future__ import annotations

from makini_provider.webhooks.setup import make_receiver

app = make_receiver()

from __future__ import annotations

import os

from hypothesis import settings

# A busy machine is no failure; and what CI finds must be there when it is run again.
settings.register_profile("unhurried", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("unhurried")

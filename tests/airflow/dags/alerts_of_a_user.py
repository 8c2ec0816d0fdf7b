"""A notifier of a user's own, which writes down what it is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier


class FileNotifier(BaseNotifier):
    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        diagnosis = getattr(context["exception"], "diagnosis", None)
        told = {
            "task": context["ti"].task_id,
            "text": self.text,
            "cause": diagnosis.cause.value if diagnosis else None,
            "since": diagnosis.since.isoformat() if diagnosis and diagnosis.since else None,
        }
        with Path(os.environ["MAKINI_TOLD"]).open("a") as file:
            file.write(json.dumps(told) + "\n")


makini = FileNotifier(text="{{ exception }}")

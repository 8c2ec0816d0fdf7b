"""Airflow's own database, for its Variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from airflow import settings
from airflow.models.base import Base
from airflow.models.variable import Variable
from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker


class Database:
    """Airflow's own database, outside a task."""

    uri = "variable://makini_acme_tokens"
    _key = "makini_acme_tokens"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "airflow.db"
        engine = create_engine(f"sqlite:///{self._file}")
        Base.metadata.create_all(engine, [Base.metadata.tables[name] for name in ("team", "variable")])

    def running(self) -> AbstractContextManager[None]:
        return self._at(f"sqlite:///{self._file}")

    def down(self) -> AbstractContextManager[None]:
        return self._at(f"sqlite:///{self._file.parent}/no-such-folder/airflow.db")

    def read_only(self) -> AbstractContextManager[None]:
        return self._at(f"sqlite:///file:{self._file}?mode=ro&uri=true")

    @contextmanager
    def _at(self, url: str) -> Iterator[None]:
        made = sessionmaker(bind=create_engine(url))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settings, "NonScopedSession", made)
            patch.setattr(settings, "Session", scoped_session(made))
            yield

    def put(self, text: str) -> None:
        Variable.set(self._key, text)

    def text(self) -> str | None:
        text: str | None = Variable.get(self._key, default_var=None)
        return text

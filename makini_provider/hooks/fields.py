"""The values of a connection's ``extra``, each read as what it must be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from makini_provider.api.errors import MakiniConfigurationError


class Fields:
    """The values of ``extra``; errors name the connection, and show no value that may be a secret.

    :param conn_id: of the connection
    :param extra: a JSON object, as text or parsed
    """

    def __init__(self, conn_id: str, extra: str | Mapping[str, Any] | None) -> None:
        self.conn_id = conn_id
        self._extra = self._object(extra)

    def error(self, what: str, remedy: str) -> MakiniConfigurationError:
        return MakiniConfigurationError(f"connection {self.conn_id!r}: {what}", remedy=remedy)

    def wrong(self, key: str, must_be: str, value: Any) -> MakiniConfigurationError:
        return self.error(
            f"extra {key!r} must be {must_be}, not {_shown(value)}.",
            "Correct it in the connection's extra, or leave it out for the default.",
        )

    def get(self, key: str) -> Any:
        """The value, or ``None`` where it is absent; the form leaves null or empty text in unused fields."""
        value = self._extra.get(key)
        if isinstance(value, str):
            value = value.strip()
        return None if value == "" else value

    def text(self, key: str, must_be: str) -> str | None:
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, must_be, value)
        return value.lower() if value else None

    def verbatim(self, key: str) -> str | None:
        """Text as it is, or a number as text; never shown in errors."""
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.error(
                f"extra {key!r} must be text, and is {_kind(value)}.", "Correct it in the connection's extra."
            )
        return str(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.get(key)
        if value is None:
            return default
        flag = _as_flag(value)
        if flag is None:
            raise self.wrong(key, "true or false", value)
        return flag

    def whole_number(self, key: str) -> int | None:
        number = self._number(key, int, "a whole number of at least 1", lambda number: number >= 1)
        return None if number is None else int(number)

    def seconds(self, key: str, *, default: float) -> float:
        must_be = "a number of seconds above 0"
        number = self._number(key, float, must_be, lambda number: number > 0 and math.isfinite(number))
        return default if number is None else number

    def _number(
        self, key: str, kind: type[int | float], must_be: str, fits: Callable[[float], bool]
    ) -> float | None:
        value = self.get(key)
        if value is None:
            return None
        accepted = int | float | str if kind is float else int | str
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise self.wrong(key, must_be, value)
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            raise self.wrong(key, must_be, value) from None
        if not fits(number):
            raise self.wrong(key, must_be, value)
        return number

    def verify(self) -> bool | str:
        value = self.get("verify")
        if value is None:
            return True
        flag = _as_flag(value)
        if flag is not None:
            return flag
        if not isinstance(value, str):
            raise self.wrong("verify", "true, false, or the path of a CA bundle", value)
        if not Path(value).is_file():
            raise self.error(
                f"extra 'verify' names the CA bundle {value!r}, which is no file on this machine.",
                "Give the path of a PEM file that every worker has, or true for the usual authorities.",
            )
        return value

    def proxies(self) -> dict[str, str]:
        value = self.get("proxies")
        if value is None:
            return {}
        must_be = 'an object of proxy URLs by scheme, such as {"https": "http://proxy.example:3128"}'
        if isinstance(value, str):
            value = _parsed(value)
        # Proxy URLs may hold a password, so that nothing of the value is shown.
        if not isinstance(value, Mapping):
            raise self.error(f"extra 'proxies' must be {must_be}.", "Correct it in the connection's extra.")
        for scheme, url in value.items():
            if not isinstance(url, str) or not _host_of(url):
                raise self.error(
                    f"extra 'proxies' must be {must_be}; the entry {str(scheme)!r} holds no URL.",
                    "Correct it in the connection's extra.",
                )
        return dict(value)

    def warnings(self, known: Sequence[str]) -> list[str]:
        """A line for each key that nothing reads; never with its value, which may be a secret."""
        lines = []
        for key in self._extra:
            if key not in known:
                near = get_close_matches(key.lower().replace("-", "_"), known, n=1)
                meant = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
                lines.append(f"extra {key!r} is not known and has no effect. {meant}")
        return lines

    def _object(self, extra: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
        value = _parsed(extra) if isinstance(extra, str) and extra.strip() else extra or {}
        if not isinstance(value, Mapping):
            raise self.error(
                "extra must be a JSON object, and is "
                + ("no JSON." if value is None else f"{_kind(value)}."),
                'Write it as {"page_size": 100}, or leave it empty.',
            )
        return value


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url if "://" in url else f"http://{url}").hostname
    except ValueError:  # its text would show the user name and the password
        return None


def _as_flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None


def _parsed(text: str) -> Any:
    """The JSON value, or ``None`` where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_LONGEST_SHOWN: Final = 16
"""Longer text is not shown: it could be a token in the wrong field."""


def _shown(value: Any) -> str:
    if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST_SHOWN):
        return repr(value)
    return _kind(value)


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return {list: "a list", bool: "true or false", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )

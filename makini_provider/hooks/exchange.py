"""Requests in the words of ``HttpHook.run``, sent as every request of the client is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from makini_provider.api.auth import token_of
from makini_provider.api.errors import MakiniConfigurationError
from makini_provider.api.failures import failure_of_answer
from makini_provider.api.transport import Answer, Transport

# What happens anyway may be asked for.
_OPTIONS_IN_EFFECT: Final[Mapping[str, Any]] = {"check_response": True, "allow_redirects": False}


def send(
    transport: Transport,
    method: str,
    endpoint: str | None,
    *,
    data: Any = None,
    headers: Mapping[str, Any] | None = None,
    extra_options: Mapping[str, Any] | None = None,
    request_kwargs: Mapping[str, Any] | None = None,
) -> Response:
    """Send a request and return its answer; the parameters are those of ``MakiniHook.run``.

    :raises MakiniConfigurationError: something can't be sent in this way
    :raises MakiniRequestError: the kind says what happened
    """
    for name, value in (extra_options or {}).items():
        if name not in _OPTIONS_IN_EFFECT or value is not _OPTIONS_IN_EFFECT[name]:
            raise MakiniConfigurationError(
                f"extra_options has {name!r}, which run() does not take.",
                remedy="Set timeout, verify and proxies in the connection's extra; redirects are never "
                "followed, and an answer that is no success is an error with its status and request ID.",
            )
    rest = dict(request_kwargs or {})
    query, body = _pairs("params", rest.pop("params", None)), rest.pop("json", None)
    if rest:
        raise MakiniConfigurationError(
            f"run() does not take {', '.join(map(repr, rest))}.",
            remedy="Use the session of get_conn() for what is out of the ordinary.",
        )
    if method in ("GET", "HEAD"):
        query += _pairs("data", data)
    elif data is not None and body is not None:
        raise MakiniConfigurationError("both data and json are given.", remedy="Give the body once.")
    elif data is not None:
        body = _json_body(data)
    path = endpoint_path(endpoint)
    answer = transport.request(
        method,
        path,
        query=query,
        json=body,
        headers={name: str(value) for name, value in (headers or {}).items()},
    )
    return _response(answer, transport.base_url + path)


def endpoint_path(endpoint: str | None) -> str:
    """The path, with a query where there is one, that an endpoint is below the base URL.

    :raises MakiniConfigurationError: it could lead elsewhere
    """
    path = (endpoint or "").strip()
    path = path if path.startswith("/") else f"/{path}"
    parts = path.partition("?")[0]
    if re.search(r"//|\\|#|/\.{1,2}(/|$)|%(2e|2f|5c)|[\x00-\x20\x7f]", parts, re.IGNORECASE):
        raise MakiniConfigurationError(
            f"endpoint {endpoint!r} is not a plain path.",
            remedy="Give the path below the connection's host, such as '/api/eam/sites'; never a URL.",
        )
    return path


def check(response: Response) -> None:
    """Raise the typed error of an answer that is no success.

    :raises MakiniRequestError: the kind says what happened
    """
    if not 200 <= response.status_code < 300:
        request = response.request or PreparedRequest()
        raise failure_of_answer(
            request.method or "",
            urlsplit(response.url).path,
            response.status_code,
            response.headers,
            response.content,
            now=datetime.now(UTC),
            secrets=[token_of(request)],
        )


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if value is None or value == "":
        return []
    items: Iterable[Any] = value.items() if isinstance(value, Mapping) else value
    try:
        if isinstance(value, str | bytes):
            raise TypeError  # noqa: TRY301
        pairs = [(str(key), item) for key, item in items]
    except (TypeError, ValueError):
        raise MakiniConfigurationError(
            f"{name} must be a mapping or pairs of query parameters, not {type(value).__name__}.",
            remedy="Write a ready query behind the endpoint: '/api/eam/sites?page=2'.",
        ) from None
    return [
        (key, str(one))
        for key, item in pairs
        for one in (item if isinstance(item, list | tuple) else [item])
        if one is not None
    ]


def _json_body(data: Any) -> Any:
    if not isinstance(data, str | bytes):
        return data
    try:
        return json.loads(data)
    except ValueError:
        raise MakiniConfigurationError(
            "data is text that is no JSON, which is all that the API takes.",
            remedy="Give an object, or its JSON text.",
        ) from None


def _response(answer: Answer, url: str) -> Response:
    response = Response()
    response.status_code = answer.status
    response.headers = CaseInsensitiveDict(answer.headers)
    response.encoding = get_encoding_from_headers(response.headers)
    response.url = url
    response.raw = BytesIO(answer.body)
    return response

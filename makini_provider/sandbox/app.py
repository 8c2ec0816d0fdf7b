"""The sandbox over HTTP: the API itself under ``/api``, and what steers the sandbox under ``/_sandbox``."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Refused, is_denied, refusal_of
from .behaviour import Behaviour, Fault
from .catalogue import LISTS, find
from .oauth import Authority, NotGoodError, RefusedError
from .store import Store, error
from .table import Record
from .tenants import Tenants
from .webhooks import Webhooks, WebhookSettings

_WELCOME = """\
Makini sandbox: a local stand-in for the Makini API, with invented data.

GET /api/{eam,erp,wms}/{list}       109 lists: page, per_page, filter[field:op], sort[field], filterMatch
GET /api/{domain}/{list}/{key}      one record
GET /api/integrations/current       state of Makini's own synchronisation
POST /_sandbox/changes              change data: {"updates": 40, "inserts": 10, "deletes": 3}

Every request needs the header "Authorization: Bearer <token>"; the token was printed at the start.
"""
_HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1><p>gateway</p></body></html>"
_FAULT_ERRORS = {
    "500": ("INTERNAL_ERROR", "server_error", "something broke"),
    "503": ("SERVICE_UNAVAILABLE", "server_error", "the service is not available"),
    "429": ("RATE_LIMIT_EXCEEDED", "rate_limit_error", "too many requests"),
}
_REMEMBERED_REQUESTS = 200_000

Handler = Callable[[Request], Awaitable[Response]]


def encode(body: dict[str, Any]) -> bytes:
    """Write an answer as JSON; records are written once, not at every request."""
    data = body.get("data")
    if isinstance(data, Record):
        return b'{"data":' + data.json() + b"}"
    if isinstance(data, list) and all(isinstance(record, Record) for record in data):
        rest = json.dumps({name: value for name, value in body.items() if name != "data"})
        records = b",".join(record.json() for record in data)
        return b'{"data":[' + records + (b"]," if len(body) > 1 else b"]") + rest[1:].encode()
    return json.dumps(body, ensure_ascii=False).encode()


class Api:
    """
    What the routes do.

    :param tenants: hold the data.
    :param authority: knows which tokens are good.
    :param webhooks: sends a webhook of each change.
    """

    def __init__(self, tenants: Tenants, authority: Authority, webhooks: Webhooks | None = None) -> None:
        self.tenants = tenants
        self.authority = authority
        self.webhooks = webhooks or Webhooks()
        self.store = tenants.store(next(iter(tenants.connections)))
        #: Requests to ``/api`` and ``/link`` in the order they came.
        self.requests: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._answered = 0
        self._behaviour: Behaviour | None = None

    def behave(self, behaviour: Behaviour) -> None:
        """Behave in another way from now on."""
        self.authority.behaviour = behaviour
        self._token_faults = list(behaviour.token_faults)
        self.tenants.behave(behaviour)

    def request_id(self) -> str:
        """Return an ID that no answer had before."""
        self._answered += 1
        return f"req-{self._answered:08d}"

    # The API

    async def api(self, request: Request) -> Response:
        """Answer a request to ``/api``, with the faults of the behaviour."""
        behaviour = self._current_behaviour()
        seen = _seen(request)
        self.requests.append(seen)
        if behaviour.latency:
            await asyncio.sleep(behaviour.latency)
        try:
            connection = self.authority.connection_of(request.headers.get("authorization", ""))
        except NotGoodError as bad:
            plain = bad.reason == "invalid"
            return self.error(*refusal_of(bad.reason, "plain" if plain else behaviour.refusal_wording))
        refused = self._refused(request, behaviour) if connection is not None else None
        if refused:
            return self.error(*refused)
        fault = seen["fault"] = self._next_fault(behaviour)
        return await self._with_fault(fault, lambda: self._answer(request, connection), behaviour)

    async def link_token(self, request: Request) -> Response:
        """Answer ``POST /link/token``, with the faults of the behaviour."""
        seen = _seen(request)
        self.requests.append(seen)
        fault = seen["fault"] = self._token_faults.pop(0) if self._token_faults else ""
        return await self._with_fault(fault, lambda: self._grant(request), self.store.behaviour)

    async def _grant(self, request: Request) -> Response:
        body = await request.body()
        try:
            if request.headers.get("content-type", "").startswith("application/json"):
                form = {name: str(value) for name, value in (await _object(request)).items()}
            else:
                form = dict(parse_qsl(body.decode()))
            return self.reply(200, self.authority.grant(form))
        except RefusedError as refused:
            told = {"error": refused.code, "error_description": str(refused)}
            return Response(
                json.dumps(told), refused.status, {"X-Request-Id": self.request_id()}, "application/json"
            )
        except ValueError as bad:
            return self.error(400, "INVALID_BODY", "invalid_request_error", str(bad))

    async def _with_fault(
        self, fault: Fault, answer: Callable[[], Awaitable[Response]], behaviour: Behaviour
    ) -> Response:
        if fault in _FAULT_ERRORS:
            return self.error(int(fault), *_FAULT_ERRORS[fault])
        if fault == "html_200":
            return Response(_HTML.format("Welcome"), media_type="text/html")
        if fault == "empty_body":
            return Response(media_type="application/json")
        if fault == "slow":
            await asyncio.sleep(behaviour.slow_seconds)
        response = await answer()
        if fault in ("truncated_json", "cut"):
            return _Cut(response, end_connection=fault == "cut")
        return response

    def _current_behaviour(self) -> Behaviour:
        behaviour = self.store.behaviour
        if behaviour is not self._behaviour:
            self._behaviour = behaviour
            self._faults = Random(behaviour.seed)
            self._sequence = list(behaviour.fault_sequence)
            self._before_refusal = behaviour.refusal_after
        return behaviour

    def _next_fault(self, behaviour: Behaviour) -> Fault:
        if self._sequence:
            return self._sequence.pop(0)
        if behaviour.fault_rate and self._faults.random() < behaviour.fault_rate:
            return self._faults.choice(behaviour.faults)
        return ""

    async def _answer(self, request: Request, connection: str | None) -> Response:
        # The raw path, because a key may hold a slash that is percent-encoded.
        path = request.scope["raw_path"].decode("ascii")
        if connection is None:
            return self._system(request, path)
        store = self.tenants.store(connection)
        if request.method == "GET":
            if path == "/api/integrations/current":
                return self.reply(*store.read_integration())
            query = parse_qsl(request.scope["query_string"].decode("ascii"), keep_blank_values=True)
            return self.reply(*store.query(path, query))
        try:
            return await self._write(request, path, store)
        except ValueError as bad:
            return self.error(400, "INVALID_BODY", "invalid_request_error", str(bad))

    async def _write(self, request: Request, path: str, store: Store) -> Response:
        target = find(path)
        if target is None:
            return self.error(404, "NOT_FOUND", "not_found_error", f"there is no {path}")
        endpoint = target.endpoint
        allowed = endpoint.put if target.key is not None else endpoint.post
        if request.method != ("POST" if target.key is None else "PUT") or not allowed:
            message = f"{request.method} is not possible on {path}"
            return self.error(405, "METHOD_NOT_ALLOWED", "invalid_request_error", message)
        body = await _object(request)
        given = {
            name: body[name] for name in body if name not in ("key", "createdAt", "updatedAt", "deletedAt")
        }
        if target.key is not None:
            if store.get(endpoint.resource, target.key) is None:
                return self.error(404, "NOT_FOUND", "not_found_error", f"there is no record {target.key}")
            return self.reply(200, {"data": store.update(endpoint.resource, target.key, **given)})
        if target.parent is not None:
            if store.get("eam/work-orders", target.parent) is None:
                return self.error(404, "NOT_FOUND", "not_found_error", f"there is no record {target.parent}")
            given["parentKey"] = target.parent
        return self.reply(200, {"data": store.insert(endpoint.resource, given)})

    def _system(self, request: Request, path: str) -> Response:
        """Answer a request of the application itself."""
        if request.method == "GET" and path == "/api/system/connections":
            asked = request.query_params
            number, size = asked.get("page", "1"), asked.get("per_page", "25")
            if not (number.isdecimal() and size.isdecimal() and int(number) and int(size)):
                return self.error(400, "INVALID_PARAMETER", "invalid_request_error", "page and per_page")
            return self.reply(200, self.tenants.page(int(number), int(size)))
        prefix, _, rest = path.partition("/api/system/connections/")
        key, _, what = rest.partition("/")
        if request.method == "POST" and not prefix and what == "token":
            if unquote(key) not in self.tenants.connections:
                return self.error(404, "NOT_FOUND", "not_found_error", f"there is no connection {key}")
            return self.reply(200, self.authority.connection_token(unquote(key)))
        return self.error(
            403, "FORBIDDEN", "permission_error", "an application's token is for /api/system/ only"
        )

    # What steers the sandbox

    def steered(self, act: Callable[[Any], Any]) -> Handler:
        """Return a handler: the token is needed; a JSON object comes, and an answer goes."""

        async def handle(request: Request) -> Response:
            if not self._may(request):
                return self._unauthorized()
            try:
                body = await _object(request) if request.method == "POST" else dict(request.query_params)
                return self.reply(200, {"data": act(body)})
            except (ValueError, TypeError) as bad:
                body = error("INVALID_PARAMETER", "invalid_request_error", str(bad))
                return Response(json.dumps(body), 400, media_type="application/json")

        return handle

    def change(self, body: dict[str, Any]) -> dict[str, Any]:
        """``POST /_sandbox/changes``: change data; the answer has counts and keys by list."""
        done = self.store.change(**body)
        return {
            resource: {**{kind: len(keys) for kind, keys in kinds.items()}, "keys": kinds}
            for resource, kinds in done.items()
        }

    def set_behaviour(self, body: dict[str, Any]) -> dict[str, Any]:
        """``POST /_sandbox/behaviour``: the fields that are not given are as by default."""
        self.behave(Behaviour.from_json(body))
        return body

    def set_connection(self, body: dict[str, Any]) -> dict[str, Any]:
        """``POST /_sandbox/connections``: set fields, such as ``status``, of the connection ``key``."""
        return self.tenants.set(self._connection(body), {**body, "key": self._connection(body)})

    def give_pair(self, body: dict[str, Any]) -> dict[str, Any]:
        """``POST /_sandbox/pairs``: a pair of tokens of the connection ``key``, as connecting it gives."""
        return self.authority.pair(self._connection(body))

    def revoke(self, body: dict[str, Any]) -> dict[str, Any]:
        """``POST /_sandbox/revocations``: let no token be good that was given, ``access`` or ``refresh``."""
        self.authority.revoke(**{"access": True, "refresh": True} | body)
        return body

    def _connection(self, body: dict[str, Any]) -> str:
        key = str(body.get("key") or next(iter(self.tenants.connections)))
        if key not in self.tenants.connections:
            raise ValueError(f"key: there is no connection {key!r}")
        return key

    def set_integration(self, body: dict[str, Any]) -> dict[str, Any]:
        """``POST /_sandbox/integration``: set fields of the integration."""
        self.store.set_integration(**body)
        return self.store.integration

    def set_clock(self, body: dict[str, Any]) -> dict[str, str]:
        """``POST /_sandbox/clock``: stop it at ``now``, or move it by ``advance`` seconds."""
        clock = self.store.clock
        if "now" in body:
            clock.set(datetime.fromisoformat(body["now"]))
        clock.advance(timedelta(seconds=body.get("advance", 0)))
        return {"now": clock.now().isoformat()}

    def set_webhooks(self, body: dict[str, Any]) -> dict[str, int]:
        """``POST /_sandbox/webhooks``: the fields that are not given are as by default."""
        self.webhooks.configure(WebhookSettings.from_json(body))
        return self.webhooks.counts()

    def truth(self, query: dict[str, str]) -> list[Record]:
        """``GET /_sandbox/records?resource=eam/work-orders``: all records, whatever the behaviour."""
        resource = query.get("resource", "")
        if resource not in LISTS:
            raise ValueError(f"resource: there is no list {resource!r}")
        return self.store.records(resource)

    async def seen(self, request: Request) -> Response:
        """``GET`` and ``DELETE /_sandbox/requests``: what was asked so far."""
        if not self._may(request):
            return self._unauthorized()
        requests = list(self.requests)
        if request.method == "DELETE":
            self.requests.clear()
        return self.reply(200, {"data": requests})

    # Answers

    def _may(self, request: Request) -> bool:
        return self.authority.is_own(request.headers.get("authorization", ""))

    def _unauthorized(self) -> Response:
        return self.error(*refusal_of("invalid", "plain"))

    def _refused(self, request: Request, behaviour: Behaviour) -> Refused | None:
        """Why a request to the API is refused although its token is good, if it is."""
        wording = behaviour.refusal_wording
        if behaviour.refusal:
            self._before_refusal -= 1
            if self._before_refusal < 0:
                return refusal_of(behaviour.refusal, wording)
        if is_denied(request.scope["raw_path"].decode("ascii"), behaviour.denied):
            return refusal_of("permission", wording, behaviour.denied_status)
        return None

    def error(self, status: int, code: str, kind: str, message: str) -> Response:
        """Return an error in the spelling of the behaviour."""
        return self.reply(status, error(code, kind, message))

    def reply(self, status: int, body: dict[str, Any]) -> Response:
        """Return an answer with its request ID; errors are spelt as the behaviour wants."""
        request_id = self.request_id()
        behaviour = self.store.behaviour
        place = "both" if status < 400 else behaviour.request_id_in
        headers = {**behaviour.headers, "X-Request-Id": request_id if place in ("both", "header") else ""}
        if status in (429, 503) and behaviour.retry_after is not None:
            headers["Retry-After"] = behaviour.retry_after
        if status < 400:
            return Response(encode(body), status, headers, "application/json")
        if behaviour.error_spelling == "empty":
            return Response(b"", status, headers)
        if behaviour.error_spelling == "html":
            return Response(_HTML.format(f"Error {status}"), status, headers, "text/html")
        flat = behaviour.error_spelling == "flat"
        facts = dict(body["error"])
        if place in ("both", "body"):
            facts["requestId" if flat else "request_id"] = request_id
        if flat:
            return Response(json.dumps(facts), status, headers, "application/json")
        return Response(json.dumps({"error": facts}), status, headers, "application/json")


class _Cut(Response):
    """Half of another answer; then the end, or the end of the connection."""

    def __init__(self, whole: Response, *, end_connection: bool) -> None:
        half = bytes(whole.body)[: len(whole.body) // 2]
        super().__init__(half, whole.status_code, media_type=whole.media_type)
        self.headers["X-Request-Id"] = whole.headers["X-Request-Id"]
        self._end_connection = end_connection
        if end_connection:
            self.headers["Content-Length"] = str(len(whole.body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._end_connection:
            return await super().__call__(scope, receive, send)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # An answer that is never completed: the server closes the connection.
        return await send({"type": "http.response.body", "body": self.body, "more_body": True})


class _Dated:
    """Adds the ``Date`` header, by the store's clock, and a request ID where none is."""

    def __init__(self, app: ASGIApp, api: Api) -> None:
        self.app = app
        self.api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(self.api.store.clock.now(), usegmt=True)
                headers = [*message["headers"], (b"date", date.encode())]
                if not any(name == b"x-request-id" for name, _ in headers):
                    headers.append((b"x-request-id", self.api.request_id().encode()))
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, dated)


async def _object(request: Request) -> dict[str, Any]:
    """Return the request's JSON object; ValueError for any other body."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise ValueError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise ValueError(f"the body must be a JSON object, not {type(body).__name__}")  # noqa: TRY004
    return body


def _seen(request: Request) -> dict[str, Any]:
    headers = {name: value for name, value in request.headers.items() if name != "authorization"}
    return {
        "method": request.method,
        "path": request.scope["raw_path"].decode("ascii"),
        "query": request.url.query,
        "headers": headers,
        "fault": "",
    }


async def _welcome(_: Request) -> Response:
    return PlainTextResponse(_WELCOME)


def make_app(api: Api) -> ASGIApp:
    """Return the ASGI application."""
    steered = api.steered
    routes = [
        Route("/", _welcome),
        Route("/api/{rest:path}", api.api, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        Route("/link/token", api.link_token, methods=["POST"]),
        Route("/_sandbox/connections", steered(api.set_connection), methods=["POST"]),
        Route("/_sandbox/pairs", steered(api.give_pair), methods=["POST"]),
        Route("/_sandbox/revocations", steered(api.revoke), methods=["POST"]),
        Route("/_sandbox/changes", steered(api.change), methods=["POST"]),
        Route("/_sandbox/behaviour", steered(api.set_behaviour), methods=["POST"]),
        Route("/_sandbox/integration", steered(api.set_integration), methods=["POST"]),
        Route("/_sandbox/clock", steered(api.set_clock), methods=["POST"]),
        Route("/_sandbox/webhooks", steered(api.set_webhooks), methods=["POST"]),
        Route("/_sandbox/webhooks", steered(lambda _: api.webhooks.counts()), methods=["GET"]),
        Route("/_sandbox/records", steered(api.truth), methods=["GET"]),
        Route("/_sandbox/requests", api.seen, methods=["GET", "DELETE"]),
    ]
    return _Dated(Starlette(routes=routes), api)

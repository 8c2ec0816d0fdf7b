"""The doctor: looks at everything between this machine and a connection's records, and changes nothing."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import certifi
from requests.utils import get_environ_proxies, select_proxy

from makini_provider.api.client import INTEGRATION_PATH, Integration, MakiniClient
from makini_provider.api.dialects import ListQuery, Page
from makini_provider.api.errors import (
    MakiniError,
    MakiniForbiddenError,
    MakiniNotFoundError,
    MakiniStatusError,
    MakiniUnauthorizedError,
)
from makini_provider.api.resources import Resource, get_resource
from makini_provider.api.token_shape import TokenShape
from makini_provider.api.transport import TransportSettings, is_loopback
from makini_provider.api.wording import duration, moment
from makini_provider.sync.habits import MICROSECOND, SECOND, ServerHabits
from makini_provider.sync.reading import Reader

PATIENCE: Final = 10.0
"""Seconds that a TLS handshake is waited for."""

LITTLE_TIME_LEFT: Final = timedelta(days=7)
LITTLE_CERTIFICATE_LEFT: Final = timedelta(days=14)
SKEW_THAT_MATTERS: Final = timedelta(seconds=5)
STALE_SYNC: Final = timedelta(hours=26)
"""Makini syncs once a day at the slowest; what is older has missed one."""

RESOURCES: Final = (
    *("eam/sites", "eam/assets", "eam/work-orders", "eam/meter-readings", "eam/purchase-orders"),
    *("erp/sites", "erp/materials", "erp/purchase-orders", "erp/sales-orders", "erp/vendors"),
    *("wms/sites", "wms/materials", "wms/sales-orders", "wms/purchase-orders"),
)
"""What is counted where nothing else is asked for: the common lists of each kind of system."""

_SMALL_PAGE: Final = 5


class Level(StrEnum):
    """How good a finding is."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one thing.

    :param topic: what it is about
    :param level: how good it is
    :param text: for people
    :param facts: for programs
    """

    topic: str
    level: Level
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


# The way there


def look_at_the_network(base_url: str, settings: TransportSettings) -> Iterator[Finding]:
    """Look the host up, and see whom TLS shows.

    :param base_url: of the connection
    :param settings: of the connection: verification and proxies
    """
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)
    # As requests has it: the environment's stand in for each scheme that the connection does not set.
    of_environment = {} if is_loopback(host) else get_environ_proxies(base_url)
    if select_proxy(base_url, {**of_environment, **settings.proxies}):
        yield Finding("name lookup", Level.NOTE, f"left to a proxy, which is asked for {host}")
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        text = (
            f"{host} has no address here ({error.strerror or error}). Check the host and this machine's DNS."
        )
        yield Finding("name lookup", Level.FAILURE, text)
        return
    addresses = sorted({str(address[0]) for *_, address in found})
    yield Finding("name lookup", Level.OK, f"{host} is {', '.join(addresses)}", {"addresses": addresses})
    if parts.scheme == "https":
        yield _look_at_tls(host, port, settings.verify)
    else:
        yield Finding("TLS", Level.NOTE, "none: plain http")


def _look_at_tls(host: str, port: int, verify: bool | str) -> Finding:
    try:
        context = _context(verify)
        with (
            socket.create_connection((host, port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            version, certificate = wrapped.version(), wrapped.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        text = (
            f"the certificate is not trusted: {error.verify_message}. Where your network has an authority of "
            "its own, give its bundle as 'verify'."
        )
        return Finding("TLS", Level.FAILURE, text)
    except OSError as error:
        return Finding("TLS", Level.FAILURE, f"no TLS connection to {host}:{port}: {error}")
    if not verify:
        return Finding("TLS", Level.WARNING, f"{version}, not verified ('verify' is false): whoever sits in "
                       "between can read the token", {"version": version, "verified": False})  # fmt: skip
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    left = ends - datetime.now(UTC)
    level = Level.WARNING if left < LITTLE_CERTIFICATE_LEFT else Level.OK
    facts = {"version": version, "verified": True, "certificate_expires_at": ends.isoformat()}
    return Finding("TLS", level, f"{version}, verified; the certificate ends in {duration(left)}", facts)


def _context(verify: bool | str) -> ssl.SSLContext:
    # As requests chooses them: the environment stands in for what the connection does not set.
    named = verify if isinstance(verify, str) else next(filter(None, map(os.environ.get, _BUNDLES)), None)
    context = ssl.create_default_context(cafile=named or certifi.where())
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


# The token, the clock, Makini's own sync


def look_at_the_token(token: str, now: datetime) -> Finding:
    """What the token says of itself.

    :param token: it; nothing of it is told
    :param now: by the server's clock
    """
    shape = TokenShape.of(token)
    facts: dict[str, Any] = {"length": shape.length, "jwt": shape.is_jwt}
    facts |= {meaning.replace(" ", "_"): date.isoformat() for meaning, date in shape.dates.items()}
    if shape.oddities:
        return Finding("token", Level.FAILURE, f"the token {' and '.join(shape.oddities)}", facts)
    ends = shape.expires_at
    if ends is None:
        return Finding("token", Level.OK, str(shape), facts)
    if ends <= now:
        text = f"{shape}; it has expired, {duration(now - ends)} ago ({moment(ends)})"
        return Finding("token", Level.FAILURE, text, facts)
    issued = shape.issued_at
    short_lived = issued is not None and ends - issued <= LITTLE_TIME_LEFT
    level = Level.WARNING if ends - now < LITTLE_TIME_LEFT and not short_lived else Level.OK
    return Finding("token", level, f"{shape}; valid for {duration(ends - now)} (until {moment(ends)})", facts)


def look_at_the_clock(skew: timedelta | None) -> Finding:
    """How far this machine's clock is from the server's.

    :param skew: how far the server's is ahead; ``None`` where no answer has told its time
    """
    if skew is None:
        return Finding("clock", Level.UNKNOWN, "not told: no answer says what time the server has")
    facts = {"server_ahead_seconds": round(skew.total_seconds(), 1)}
    if abs(skew) < SKEW_THAT_MATTERS:
        return Finding("clock", Level.OK, "this machine's clock agrees with the server's", facts)
    ahead = "behind" if skew > timedelta(0) else "ahead of"
    text = f"this machine's clock is {abs(skew.total_seconds()):.0f} s {ahead} the server's; synchronise it"
    return Finding("clock", Level.WARNING, f"{text} (syncs go by the server's)", facts)


def look_at_makinis_own_sync(integration: Integration, now: datetime) -> Finding:
    """How far Makini's own synchronisation with the connected system is.

    :param integration: what the API says of it
    :param now: by the server's clock
    """
    status, updated = integration.sync_status, integration.sync_updated_at
    if status is None:
        text = "not told: make 'lookback' longer than Makini's own sync takes at worst"
        return Finding("Makini's own sync", Level.UNKNOWN, text)
    facts = {"sync_status": status, "sync_updated_at": None if updated is None else updated.isoformat()}
    since = f", {duration(now - updated)} ago ({moment(updated)})" if updated else ""
    level = Level.OK
    if integration.is_locked_out:
        level = Level.FAILURE
    elif status == "error" or (updated is not None and now - updated > STALE_SYNC):
        level = Level.WARNING
    return Finding("Makini's own sync", level, f"'{status}'{since}", facts)


# The lists


@dataclass(frozen=True, slots=True)
class Counted:
    """A list, and how many records it has.

    :param name: of the resource
    :param total: records; ``None`` where it does not say
    :param failure: why it can't be read
    """

    name: str
    total: int | None = None
    failure: MakiniError | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the connected system does not have it, or gives it to nobody."""
        return isinstance(self.failure, MakiniNotFoundError | MakiniForbiddenError | MakiniUnauthorizedError)


def count_lists(client: MakiniClient, names: Sequence[str]) -> list[Counted]:
    """Ask lists how many records they have, several at once.

    :param client: of the connection
    :param names: resources
    """
    with ThreadPoolExecutor(max_workers=min(client.max_parallel_requests, 4)) as threads:
        return list(threads.map(lambda name: _count(client, get_resource(name)), names))


def _count(client: MakiniClient, resource: Resource) -> Counted:
    try:
        return Counted(resource.name, client.count(resource))
    except MakiniError as error:
        return Counted(resource.name, failure=error)


def look_at_the_lists(counted: Sequence[Counted], *, all_wanted: bool) -> Iterator[Finding]:
    """Which lists can be read, and how many records each has.

    :param counted: the lists
    :param all_wanted: whether somebody has asked for just these; else a domain that the connected system does
        not have is one finding
    """
    for domain in dict.fromkeys(one.name.partition("/")[0] for one in counted):
        of_domain = [one for one in counted if one.name.startswith(f"{domain}/")]
        if not all_wanted and all(one.is_refused for one in of_domain):
            statuses = ", ".join(sorted({str(one.failure.status) for one in of_domain if one.failure}))
            text = f"{domain}: none of {len(of_domain)} lists can be read ({statuses})"
            yield Finding("records", Level.NOTE, text, {"domain": domain, "readable": False})
            continue
        yield from (_list_finding(one, wanted=all_wanted) for one in of_domain)
    if not all_wanted and all(one.failure for one in counted):
        text = f"none of the {len(counted)} common lists can be read; --resources names others"
        yield Finding("records", Level.FAILURE, text)


def _list_finding(one: Counted, *, wanted: bool) -> Finding:
    facts = {"resource": one.name, "readable": one.failure is None, "records": one.total}
    if one.failure is None:
        found = (
            "readable, the number of records is not told" if one.total is None else f"{one.total:,} records"
        )
        return Finding("records", Level.OK, f"{one.name}: {found}", facts)
    facts |= {"status": one.failure.status, "request_id": one.failure.request_id}
    told = one.failure.told if isinstance(one.failure, MakiniStatusError) else ""
    status = f"{one.failure.status}" if one.failure.status else str(one.failure)
    level = Level.FAILURE if wanted else Level.WARNING
    return Finding("records", level, f"{one.name}: {status}{f' ({told})' if told else ''}", facts)


def look_at_the_page_size(client: MakiniClient, counted: Sequence[Counted]) -> Finding:
    """Whether a page has as many records as are asked for."""
    asked = client.page_size
    large = max(
        (one for one in counted if (one.total or 0) > asked), key=lambda one: one.total or 0, default=None
    )
    if large is None or not get_resource(large.name).declares_per_page:
        return Finding("page size", Level.UNKNOWN, f"no list that was counted has more than {asked} records")
    page, _ = client.list_page(get_resource(large.name), ListQuery(page_size=asked))
    got = len(page.records)
    facts = {"asked": asked, "got": got, "resource": large.name}
    if got >= asked:
        return Finding("page size", Level.OK, f"{asked} records as asked for", facts)
    return Finding("page size", Level.NOTE, f"the server gives {got} where {asked} are asked for", facts)


def look_at_the_habits(client: MakiniClient, counted: Sequence[Counted]) -> Finding:
    """Whether filter, sort and times of day by the cursor field are honoured, as a sync would find out."""
    largest = _longest(one for one in counted if get_resource(one.name).cursor_field == "updatedAt")
    if largest is None or (largest.total or 0) <= 2 * _SMALL_PAGE:
        return Finding("reading", Level.UNKNOWN, "no list that was counted has enough records to tell")
    resource = get_resource(largest.name)
    habits = ServerHabits()
    reader = Reader(_SmallPages(client), resource, habits=habits)
    reader.examine()
    facts = {
        "resource": resource.name,
        "filter": habits.filters,
        "sort": habits.sorts,
        "precision_seconds": habits.precision.total_seconds(),
    }
    if not (habits.filters and habits.sorts):
        return Finding("reading", Level.WARNING, "; ".join(habits.notes), facts)
    fine = {MICROSECOND: "microsecond", SECOND: "second"}.get(habits.precision, "day")
    level = Level.OK if habits.precision < timedelta(days=1) else Level.WARNING
    text = f"{resource.name}: filter and sort by updatedAt are honoured, to the {fine}"
    return Finding("reading", level, text, facts)


def _longest(counted: Iterable[Counted]) -> Counted | None:
    return max(counted, key=lambda one: one.total or 0, default=None)


class _SmallPages:
    """The client, asked for pages so small that a few records are enough to put the server to the test."""

    page_size = _SMALL_PAGE

    def __init__(self, client: MakiniClient) -> None:
        self._client = client

    def list_page(self, resource: Resource, query: ListQuery) -> tuple[Page, datetime]:
        return self._client.list_page(resource, query)


def look_at_the_rate_limit(client: MakiniClient) -> Finding:
    """What the headers of an answer say of a rate limit."""
    headers = client.transport.request("GET", INTEGRATION_PATH).headers
    told = {
        name: value
        for name, value in headers.items()
        if name.lower().startswith(("x-ratelimit", "ratelimit", "x-rate-limit"))
    }
    if not told:
        return Finding("rate limit", Level.NOTE, "the API's answers tell none")
    text = ", ".join(f"{name}: {value}" for name, value in told.items())
    return Finding("rate limit", Level.OK, text, told)


def attempt(topic: str, look: Callable[[], Finding]) -> Finding:
    """Look at something; where that fails, that is the finding."""
    try:
        return look()
    except MakiniError as error:
        return Finding(topic, Level.FAILURE, str(error))

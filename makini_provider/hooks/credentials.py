"""Who asks: the three ways in, as a connection describes them and as they sign requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from makini_provider.api.auth import BearerAuth, StaticToken
from makini_provider.api.errors import MakiniConfigurationError, UnusableTokenError
from makini_provider.api.minting import MintedTokens, NoConnectionNamed, connection_token
from makini_provider.api.oauth import IssuedToken, TokenEndpoint
from makini_provider.api.rotation import PairKeeper
from makini_provider.api.token_pair import TokenStore
from makini_provider.api.transport import Transport
from makini_provider.hooks.fields import Fields

AUTHS: Final = ("token", "client_credentials", "refresh_token")


@dataclass(frozen=True, slots=True)
class ApiToken:
    """The token of one Makini connection, valid until it is revoked.

    :param token: as it goes behind ``Bearer``
    """

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """An application that serves many Makini connections; it gets short-lived tokens for each.

    :param client_id: of the application
    :param client_secret: likewise
    :param makini_connection: the Makini connection that is read; ``None`` where none is named
    """

    client_id: str
    client_secret: str = field(repr=False)
    makini_connection: str | None = None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A pair of tokens of one Makini connection that is replaced from time to time.

    :param client_id: of the application that the pair was given to
    :param client_secret: likewise
    :param seed: the refresh token to begin with; ``None`` where the store has a pair already
    :param token_store: URI of the place where the pair is kept
    """

    client_id: str
    client_secret: str = field(repr=False)
    seed: str | None = field(repr=False)
    token_store: str


Credentials = ApiToken | ClientCredentials | RefreshToken


def read_credentials(
    fields: Fields, login: str | None, password: str | None, makini_connection: str | None
) -> Credentials:
    """Read who asks.

    :param fields: of the connection
    :param login: the client id
    :param password: the API token, or the client secret
    :param makini_connection: takes the place of the one in the extra
    :raises MakiniConfigurationError: something is missing, or there are two kinds of credentials
    """
    login = (login or "").strip()
    makini_connection = makini_connection or fields.verbatim("makini_connection")
    seed, store = fields.verbatim("refresh_token"), fields.verbatim("token_store")
    auth = fields.text("auth", "text")
    if auth is None:
        auth = "refresh_token" if seed or store else "client_credentials" if login else "token"
    given = {
        "login": login,
        "makini_connection": makini_connection,
        "extra 'refresh_token'": seed,
        "extra 'token_store'": store,
    }
    if auth == "token":
        _refuse_others(fields, auth, given, needed=())
        return ApiToken(_api_token(fields, password))
    if auth == "client_credentials":
        _refuse_others(fields, auth, given, needed=("login", "makini_connection"))
        return ClientCredentials(*_client(fields, auth, login, password), makini_connection)
    if auth == "refresh_token":
        needed = ("login", "extra 'refresh_token'", "extra 'token_store'")
        _refuse_others(fields, auth, given, needed=needed)
        if store is None:
            raise fields.error(
                "a refresh token is used up by its first use, and there is no place to keep the one that "
                "replaces it (extra 'token_store').",
                f"Name one, such as 'variable://makini_token_{fields.conn_id}' for an Airflow Variable.",
            )
        return RefreshToken(*_client(fields, auth, login, password), seed, store)
    raise fields.wrong("auth", "one of " + ", ".join(map(repr, AUTHS)), auth)


def _refuse_others(fields: Fields, auth: str, given: dict[str, str | None], needed: tuple[str, ...]) -> None:
    """Refuse what belongs to another way in: one of the two was not meant."""
    for name, value in given.items():
        if not value or name in needed:
            continue
        if name == "makini_connection":
            raise fields.error(
                f"makini_connection is set, which needs an application's client credentials; with {auth!r} "
                "the token is of one Makini connection already.",
                "Leave makini_connection out, or set login (client id) and password (client secret).",
            )
        raise fields.error(
            f"{name} is set, which 'auth' {auth!r} does not use: these are two kinds of credentials.",
            f"Remove {name}, or set 'auth' to the way in that is meant: {', '.join(AUTHS)}.",
        )


def _client(fields: Fields, auth: str, login: str, password: str | None) -> tuple[str, str]:
    if not login:
        raise fields.error(
            f"{auth!r} needs the application's client id, and login is empty.",
            "Put the client id into login, and the client secret into the password.",
        )
    if not password:
        raise fields.error(
            f"{auth!r} needs the application's client secret, and the password is empty.",
            "Put the client secret into the password.",
        )
    if password != password.strip():
        raise fields.error(
            "the client secret (password) begins or ends with white space or a line break.",
            "Copy it again; where it comes from a file, without the line break at the end.",
        )
    return login, password


def _api_token(fields: Fields, password: str | None) -> str:
    if not password:
        conn_id = fields.conn_id
        raise fields.error(
            "there is no API token.",
            "Put it into the connection's password: in the UI (Admin, Connections, field 'API token'), in "
            f"the environment (AIRFLOW_CONN_{conn_id.upper()}='"
            '{"conn_type": "makini", "password": "<token>"}\') or in your secrets backend.',
        )
    try:
        return StaticToken(password).token()
    except UnusableTokenError as error:
        raise UnusableTokenError(
            f"connection {fields.conn_id!r}: {error.message}", remedy=error.remedy, shape=error.shape
        ) from None


def sign(
    transport: Transport,
    credentials: Credentials,
    *,
    conn_id: str,
    open_store: Callable[[str], TokenStore],
    tell: Callable[[str], None],
    may_refresh: bool = True,
) -> None:
    """Let a transport sign its requests, and ask for tokens where these are to be had.

    :param transport: of the connection
    :param credentials: of the connection
    :param conn_id: names it in errors
    :param open_store: opens a token store by its URI
    :param tell: is told each token before it is used, so that logs can hide it
    :param may_refresh: whether a refresh token may be spent
    """
    if isinstance(credentials, ApiToken):
        transport.sign_with(BearerAuth(StaticToken(credentials.token), transport.base_url))
        return

    def told(token: IssuedToken) -> IssuedToken:
        tell(token.token)
        return token

    now = transport.clock.now
    if isinstance(credentials, RefreshToken):
        keeper = pair_keeper(
            transport, credentials, conn_id=conn_id, open_store=open_store, tell=tell, may_refresh=may_refresh
        )
        transport.sign_with(BearerAuth(MintedTokens(keeper.current, now), transport.base_url))
        return
    endpoint = TokenEndpoint(transport, credentials.client_id, credentials.client_secret)
    application = MintedTokens(lambda _: told(endpoint.application_token()), now)
    named = credentials.makini_connection
    tokens = (
        MintedTokens(lambda _: told(connection_token(transport, named)), now)
        if named
        else NoConnectionNamed(application, _nobody_named(conn_id))
    )
    transport.sign_with(BearerAuth(tokens, transport.base_url, system=application))


def pair_keeper(
    transport: Transport,
    credentials: RefreshToken,
    *,
    conn_id: str,
    open_store: Callable[[str], TokenStore],
    tell: Callable[[str], None],
    may_refresh: bool = True,
) -> PairKeeper:
    """Keeps the pair of a connection; the parameters are those of :func:`sign`."""
    return PairKeeper(
        open_store(credentials.token_store),
        credentials.seed,
        TokenEndpoint(transport, credentials.client_id, credentials.client_secret).refresh,
        now=transport.clock.now,
        tell=tell,
        conn_id=conn_id,
        may_refresh=may_refresh,
    )


def _nobody_named(conn_id: str) -> MakiniConfigurationError:
    return MakiniConfigurationError(
        f"connection {conn_id!r} is an application's, which serves many Makini connections; none is named.",
        remedy="Give the operator or the hook a makini_connection, or the connection's extra; "
        "list_connections() of the hook shows which there are.",
    )

"""The URI that says where tokens are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final
from urllib.parse import parse_qsl, unquote

from makini_provider.api.errors import MakiniConfigurationError

EXAMPLES: Final = (
    "Write it like 'variable://makini_acme_tokens', 'aws-secrets-manager://makini/acme?region=eu-central-1', "
    "'vault://secret/makini/acme' or 'azure-key-vault://my-vault/makini-acme'."
)


@dataclass(frozen=True, slots=True)
class Location:
    """A URI's parts, decoded: ``<scheme>://[<airflow_conn_id>@]<path>[?<option>=<value>]``.

    :param uri: as it was given; it holds no secret, since every part that could is refused
    :param scheme: the kind of store
    :param airflow_conn_id: the Airflow connection to log in with, where one is named
    :param segments: what stands between the slashes before the query; a slash of a name is written ``%2F``
    :param options: the query
    """

    uri: str
    scheme: str
    airflow_conn_id: str | None
    segments: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, uri: str) -> Location:
        """Take a URI apart.

        :raises MakiniConfigurationError: it is none, or holds a password
        """
        # Parsed by hand: names of secrets are no host names, and urlsplit would lower or refuse them.
        scheme, found, rest = uri.strip().partition("://")
        if not found:
            # Not shown: it could be a token in the wrong field.
            raise MakiniConfigurationError("token_store is not a URI.", remedy=EXAMPLES)
        rest, _, query = rest.partition("?")
        login, at, path = rest.rpartition("@")
        if ":" in login or "#" in rest:
            raise MakiniConfigurationError(
                "token_store contains a password, a port before '@' or a fragment.",
                remedy="Log in through an Airflow connection, whose id may stand before '@', or through the "
                "environment; write '@', ':' and '#' of a name as %40, %3A and %23.",
            )
        options = dict(parse_qsl(query, keep_blank_values=True))
        return cls(
            uri=uri.strip(),
            scheme=scheme.lower(),
            airflow_conn_id=unquote(login) if at else None,
            segments=tuple(unquote(segment) for segment in path.split("/") if segment),
            options=options,
        )

    @property
    def name(self) -> str:
        """What messages call it: ``vault:secret/makini``.

        Not the URI: Airflow masks in its logs what stands in a connection under a key with "token" in it, so
        that each message about a store would be about ``***``.
        """
        return self.uri.replace("://", ":", 1)

    @property
    def path(self) -> str:
        """The segments, joined."""
        return "/".join(self.segments)

    def unusable(self, why: str, remedy: str = EXAMPLES) -> MakiniConfigurationError:
        """Return the error to raise for a part that can't be used."""
        return MakiniConfigurationError(f"token_store {self.name!r} {why}.", remedy=remedy)

    def allow_options(self, *known: str) -> None:
        """Check that nothing is asked for that has no effect.

        :raises MakiniConfigurationError: an option is none of these
        """
        for option in self.options:
            if option not in known:
                near = get_close_matches(option, known, n=1)
                takes = f"It takes {', '.join(known)}." if known else "It takes no options."
                raise self.unusable(
                    f"has the option {option!r}, which is not known",
                    f"Did you mean {near[0]!r}?" if near else takes,
                )

    def refuse_login(self) -> None:
        """Check that no Airflow connection is named, where none is used.

        :raises MakiniConfigurationError: one is
        """
        if self.airflow_conn_id is not None:
            raise self.unusable("names an Airflow connection before '@', which this store does not use")

"""Keeps the token out of what HTTP libraries show of a request: when debugged, and when they fail."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from urllib3.connectionpool import HTTPConnectionPool

from makini_provider.api.errors import MakiniError


def quiet_pools(pools: Mapping[str, type[HTTPConnectionPool]]) -> dict[str, type[HTTPConnectionPool]]:
    """Return pools of connections that never print what they send.

    ``http.client.HTTPConnection.debuglevel = 1``, set anywhere in the process, prints every header of every
    request to the standard output: a class that has the attribute itself does not take part.

    :param pools: by scheme, as a pool manager of urllib3 has them
    """
    return {scheme: _quiet(pool) for scheme, pool in pools.items()}


def _quiet(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    connection = pool.ConnectionCls
    if "debuglevel" in vars(connection):
        return pool
    silent = type(connection.__name__, (connection,), {"debuglevel": 0})
    return type(pool.__name__, (pool,), {"ConnectionCls": silent})


class WithheldFrames:
    """A context that errors leave without the frames they went through in it, and so do their causes.

    Local variables in there are headers and tokens, here and in HTTP libraries, and what records an error
    with them (Airflow's own Sentry integration does) would send them along. Where it happened, an error of
    ours says in its message; a bug keeps its frames.
    """

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, MakiniError):
            return
        seen: list[BaseException] = []
        open_ends: list[BaseException | None] = [error]
        while open_ends:
            one = open_ends.pop()
            if one is not None and one not in seen:
                seen.append(one)
                one.__traceback__ = None
                open_ends += [one.__cause__, one.__context__]

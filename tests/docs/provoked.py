"""What users may see go wrong, provoked one by one: the texts that docs/troubleshooting.md explains."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest

from makini_provider.api.auth import BearerAuth, StaticToken, Unsigned
from makini_provider.api.client import MakiniClient
from makini_provider.api.diagnosis import Cause, Diagnosis
from makini_provider.api.dialects import ListQuery
from makini_provider.api.errors import (
    MakiniConnectionError,
    MakiniError,
    MakiniStatusError,
    TokenStoreError,
)
from makini_provider.api.oauth import TokenEndpoint
from makini_provider.api.probing import diagnose
from makini_provider.api.resources import get_resource
from makini_provider.api.rotation import PairKeeper
from makini_provider.api.token_pair import TokenPair, TokenStore
from makini_provider.api.transport import RetryPolicy, Transport, TransportSettings
from makini_provider.cli.main import main
from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.destinations.files.reader import newest_records
from makini_provider.destinations.files.store import explained, open_store
from makini_provider.hooks.credentials import ClientCredentials, sign
from makini_provider.operators.health import MakiniWatermarkCheckOperator, StaleWatermarkError
from makini_provider.operators.planning import DagSettings, plan_items
from makini_provider.operators.sync import MakiniInitialSyncOperator
from makini_provider.sandbox import Behaviour, Sandbox, make_token
from makini_provider.sandbox.table import Table
from makini_provider.sync.plan import RunInterval
from makini_provider.sync.run import StreamSync
from makini_provider.sync.streams import Source, Stream

NOW: Final = datetime(2026, 8, 1, 12, tzinfo=UTC)
HISTORY: Final = timedelta(days=30)
LOOKBACK: Final = timedelta(hours=1)


class _Memory:
    """A token store that may fail."""

    name = "variable:makini_acme_tokens"

    def __init__(self, writes: int = 100) -> None:
        self._pair: TokenPair | None = None
        self._writes = writes

    def load(self) -> TokenPair | None:
        return self._pair

    def save(self, pair: TokenPair) -> None:
        self._writes -= 1
        if self._writes < 0:
            raise TokenStoreError("token store 'variable:makini_acme_tokens' can't be written: timeout.")
        self._pair = pair


class Troubles:
    """A sandbox, a folder, and what is done with them until it fails.

    :param sandbox: its clock stands at ``NOW``
    :param folder: an empty one
    """

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._number = 0

    # What the sandbox and the folder are used for

    @contextmanager
    def _client(
        self, *, token: str = "", port: int | None = None, page_size: int = 100
    ) -> Iterator[MakiniClient]:
        url = self._sandbox.url if port is None else f"http://127.0.0.1:{port}"
        transport = Transport(
            url,
            BearerAuth(StaticToken(token or self._sandbox.token), url),
            TransportSettings(retry=RetryPolicy(attempts=1)),
        )
        try:
            yield MakiniClient(transport, page_size=page_size)
        finally:
            transport.close()

    def _root(self) -> Path:
        self._number += 1
        return self._folder / f"{self._number}"

    def _sync(
        self,
        act: Callable[[StreamSync], object],
        *,
        root: Path | None = None,
        resource: str = "eam/work-orders",
        filters: Mapping[str, str] | None = None,
        behaviour: Behaviour | None = None,
        run_id: str = "run",
        **client: Any,
    ) -> Path:
        root = root or self._root()
        stream = Stream(Source("makini_default"), get_resource(resource), filters or {})
        self._sandbox.behave(behaviour)
        try:
            with self._client(**client) as api:
                act(StreamSync(api, FilesDestination(f"file://{root}"), stream, run_id=run_id))
        finally:
            self._sandbox.behave()
        return root

    def _landed(self, **how: Any) -> Path:
        return self._sync(lambda sync: sync.initial(history=HISTORY), **how)

    def _logged(self, act: Callable[[], object], logger: str) -> str:
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        log = logging.getLogger(logger)
        level = log.level
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            act()
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
        return "\n".join(lines)

    def _printed(self, *command: str) -> str:
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            main(command)
        return printed.getvalue().strip()

    # While the DAG is parsed

    def unknown_resource(self) -> None:
        MakiniInitialSyncOperator(
            task_id="sync", resource="eam/workorders", destination="file:///data/makini"
        )

    def nested_resource(self) -> None:
        self._landed(resource="eam/work-orders/{key}/materials")

    def destination_is_a_path(self) -> None:
        MakiniInitialSyncOperator(task_id="sync", resource="eam/assets", destination="/data/makini")

    def destination_is_a_database(self) -> None:
        MakiniInitialSyncOperator(task_id="sync", resource="eam/assets", destination="sql://dwh/makini")

    def time_without_zone(self) -> None:
        plan_items(DagSettings.from_environment({}), {"window_start": "2026-08-01T00:00:00"})

    def negative_history(self) -> None:
        MakiniInitialSyncOperator(
            task_id="sync", resource="eam/assets", destination="file:///data/makini", history=-1
        )

    def setting_is_no_number(self) -> None:
        DagSettings.from_environment({"MAKINI_HISTORY_DAYS": "90d"})

    def notifier_is_nowhere(self) -> None:
        DagSettings.from_environment({"MAKINI_NOTIFIER": "my_alerts.makini"}).load_notifiers()

    def too_many_streams(self) -> None:
        names = ",".join(f"customer_{number}" for number in range(40))
        settings = DagSettings.from_environment({"MAKINI_CONN_IDS": names, "MAKINI_RESOURCES": "eam/*"})
        plan_items(settings, {})

    # Before anything is read

    def no_initial_sync(self) -> None:
        self._sync(lambda sync: sync.incremental(RunInterval(), lookback=LOOKBACK))

    def other_filters(self) -> None:
        root = self._landed(resource="eam/sites")
        self._landed(resource="eam/sites", root=root, filters={"name:contains": "plant"})

    def corrupt_commit(self) -> None:
        root = self._landed(resource="eam/sites")
        commit = min(root.glob("*/*/*/_commits/*.json"))
        commit.write_bytes(commit.read_bytes()[:100])
        self._landed(resource="eam/sites", root=root)

    def window_in_the_future(self) -> None:
        root = self._landed()
        later = NOW + timedelta(days=1)
        self._sync(
            lambda sync: sync.incremental(RunInterval(), lookback=LOOKBACK, window_start=later), root=root
        )

    def reversed_window(self) -> None:
        root = self._landed()
        day = timedelta(days=1)
        self._sync(
            lambda sync: sync.incremental(
                RunInterval(), lookback=LOOKBACK, window_start=NOW - day, window_end=NOW - 2 * day
            ),
            root=root,
        )

    def no_write_access(self) -> None:
        with explained("write", "file:///data/makini/makini_default/eam/assets/_commits"):
            raise PermissionError(13, "Permission denied")

    def no_such_store(self) -> None:
        open_store("gs://google_cloud_default@bucket/makini")

    # The API

    def refused_token(self) -> str:
        return str(self._diagnosed(Behaviour(refusal="reauthorization")))

    def _diagnosed(self, behaviour: Behaviour, *, token: str = "") -> Diagnosis:
        self._sandbox.behave(behaviour)
        try:
            with self._client(token=token) as api:
                try:
                    api.list_page(get_resource("eam/assets"), ListQuery())
                except MakiniStatusError as refused:
                    return diagnose(
                        api,
                        source="makini_default",
                        token=api.transport.token,
                        failure=refused,
                        connections=api.connections,
                    )
                raise AssertionError("nothing was refused")
        finally:
            self._sandbox.behave()

    def rate_limit(self) -> None:
        self._landed(behaviour=Behaviour(fault_sequence=("", "429"), retry_after="300"))

    def server_error(self) -> None:
        self._landed(behaviour=Behaviour(fault_sequence=("", "503")))

    def html_page(self) -> None:
        self._landed(behaviour=Behaviour(fault_sequence=("", "html_200")))

    def refused_connection(self) -> None:
        self._landed(port=1)

    def pages_ignored(self) -> None:
        self._landed(
            resource="eam/uom", behaviour=Behaviour(ignore_page=True, page_size_clamp=1, omit_links=True)
        )

    def keys_come_twice(self) -> None:
        select = Table.select
        twice = patch.object(Table, "select", lambda *asked: [*(found := select(*asked)), *found[:1]])
        with twice:
            self._landed(resource="eam/uom", page_size=5, behaviour=Behaviour(page_size_clamp=5))

    def list_never_quiet(self) -> None:
        self._landed(
            resource="eam/uom",
            page_size=5,
            behaviour=Behaviour(changes_per_request={"inserts": 1, "hard_deletes": 1}),
        )

    # The ways in

    def refused_client(self) -> None:
        with self._ways_in(ClientCredentials("sandbox-client", "another", "09000207611899")) as client:
            client.integration()

    def unknown_makini_connection(self) -> None:
        secret = self._sandbox.authority.client_secret
        with self._ways_in(ClientCredentials("sandbox-client", secret, "09000207611902")) as client:
            client.integration()

    def no_makini_connection(self) -> None:
        secret = self._sandbox.authority.client_secret
        with self._ways_in(ClientCredentials("sandbox-client", secret)) as client:
            client.integration()

    def no_pair(self) -> None:
        self._refreshed(_Memory(), seed=None)

    def spent_refresh_token(self) -> None:
        self._refreshed(_Memory(), seed="another")

    def lost_answer(self) -> None:
        store, seed = _Memory(), self._sandbox.authority.pair("09000207611899")["refresh_token"]
        self._sandbox.behave(Behaviour(token_faults=("cut",)))
        with contextlib.suppress(MakiniConnectionError):
            self._refreshed(store, seed=seed)
        self._refreshed(store, seed=seed)

    def pair_not_kept(self) -> None:
        seed = self._sandbox.authority.pair("09000207611899")["refresh_token"]
        self._refreshed(_Memory(writes=1), seed=seed)

    @contextmanager
    def _ways_in(self, credentials: ClientCredentials) -> Iterator[MakiniClient]:
        transport = Transport(self._sandbox.url, Unsigned())
        sign(
            transport,
            credentials,
            conn_id="makini_app",
            open_store=lambda uri: _Memory(),
            tell=lambda _: None,
        )
        try:
            yield MakiniClient(transport)
        finally:
            transport.close()

    def _refreshed(self, store: TokenStore, *, seed: str | None) -> None:
        transport = Transport(self._sandbox.url, Unsigned())
        endpoint = TokenEndpoint(transport, "sandbox-client", self._sandbox.authority.client_secret)
        keeper = PairKeeper(
            store,
            seed,
            endpoint.refresh,
            now=lambda: NOW,
            tell=lambda _: None,
            conn_id="makini_acme",
            sleep=lambda _: None,
        )
        try:
            keeper.current()
        finally:
            transport.close()

    # What the log and the receipt warn of

    def filter_ignored(self) -> str:
        return self._logged(
            lambda: self._landed(behaviour=Behaviour(ignore_filters=True)), "makini_provider.sync.habits"
        )

    def filter_refused(self) -> str:
        behaviour = Behaviour(reject_filter_fields=("updatedAt",))
        text = self._logged(lambda: self._landed(behaviour=behaviour), "makini_provider.sync.habits")
        # Before it, coarser times are tried.
        return text.splitlines()[-1]

    def sort_ignored(self) -> str:
        return self._logged(
            lambda: self._landed(behaviour=Behaviour(ignore_sort=True)), "makini_provider.sync.habits"
        )

    def sync_state_not_told(self) -> str:
        text = self._logged(
            lambda: self._landed(resource="eam/sites", behaviour=Behaviour(sync_state_missing=True)),
            "makini_provider.sync.run",
        )
        return text.splitlines()[0]

    def watermark_stands(self) -> str:
        root = self._landed(resource="eam/sites")
        lines = ""
        for number in range(3):
            self._sandbox.store.clock.advance(timedelta(hours=1))
            lines = self._logged(
                lambda number=number: self._sync(
                    lambda sync: sync.incremental(RunInterval(), lookback=LOOKBACK),
                    root=root,
                    resource="eam/sites",
                    run_id=f"run {number}",
                    behaviour=Behaviour(sync_states=("inprogress",)),
                ),
                "makini_provider.sync.run",
            )
        self._sandbox.store.clock.set(NOW)
        return lines.splitlines()[-1]

    # While records are written

    def removed_while_written(self) -> None:
        root = self._root()

        def act(sync: StreamSync) -> None:
            with patch.object(
                sync._client, "list_page", side_effect=self._removing(root, sync._client.list_page)
            ):
                sync.initial(history=HISTORY)

        self._sync(act, root=root, page_size=5)

    @staticmethod
    def _removing(root: Path, list_page: Callable[..., Any]) -> Callable[..., Any]:
        """Asks for a page, after it has removed what was written of the pages before."""

        def ask(*arguments: Any) -> Any:
            for folder in root.glob("*/*/*/data/*"):
                shutil.rmtree(folder)
            return list_page(*arguments)

        return ask

    # What the health checks say

    def watermark_too_old(self) -> str:
        root = self._landed(resource="eam/sites")
        check = MakiniWatermarkCheckOperator(task_id="watermarks", destination=f"file://{root}")
        later = patch("makini_provider.operators.health._now", lambda: NOW + timedelta(days=2, hours=1))
        with later, pytest.raises(StaleWatermarkError) as stale:
            check.execute({})
        return str(stale.value)

    # Looking at what has landed

    def nothing_landed(self) -> str:
        root = self._root()
        root.mkdir()
        return self._printed("streams", str(root))

    def no_such_stream(self) -> str:
        root = self._landed(resource="eam/sites")
        return self._printed("files", str(root), "makini_default/eam/site")

    def damaged_data_file(self) -> None:
        root = self._sync(lambda sync: sync.initial(history=HISTORY), resource="eam/sites")
        commit = json.loads(min(root.glob("*/*/*/_commits/*.json")).read_text())
        stream_folder = root / "makini_default/eam/sites"
        (stream_folder / commit["files"][0]["path"]).write_bytes(gzip.compress(b'{"key": "1"}\n'))
        list(newest_records(open_store(f"file://{root}"), "makini_default/eam/sites"))

    def causes(self) -> dict[Cause, str]:
        """What the first line of a diagnosis says, by cause."""
        expired = make_token(exp=(NOW - timedelta(hours=3)).timestamp())
        locked_out = {"sync_status": "fail", "sync_updated_at": "2026-07-30T08:00:00Z"}
        token, integration = self._sandbox.token, dict(self._sandbox.store.integration)
        found = [
            self._diagnosed(Behaviour(), token=f'"{token}"'),
            self._diagnosed(Behaviour(refusal="revoked", refusal_wording="plain")),
            self._diagnosed(Behaviour(denied=("eam/assets",), sync_states=(locked_out,))),
        ]
        self._sandbox.store.set_integration(**integration)
        found += [
            self._diagnosed(Behaviour(refusal="reauthorization")),
            self._diagnosed(Behaviour(denied=("eam/assets",))),
        ]
        self._sandbox.token = expired
        found.append(self._diagnosed(Behaviour(), token=expired))
        self._sandbox.token = token
        return {one.cause: str(one).splitlines()[0] for one in found}

    def receipt(self, *, history: timedelta) -> dict[str, Any]:
        """What a sync returns."""
        receipts: list[dict[str, Any]] = []
        self._sync(lambda sync: receipts.append(sync.initial(history=history)))
        return receipts[0]

    def texts(self) -> dict[str, str]:
        """Every trouble's text, by the name of what provokes it."""
        names = [
            n
            for n, v in vars(type(self)).items()
            if not n.startswith("_") and n not in ("texts", "causes", "receipt") and callable(v)
        ]
        return {name: self._text(getattr(self, name)) for name in names}

    def _text(self, provoke: Callable[[], str | None]) -> str:
        try:
            text = provoke()
        except MakiniError as error:
            text = str(error)
        if text is None:
            raise AssertionError(f"{provoke.__name__} went well")
        text = re.sub(rf"{re.escape(str(self._folder))}/\d+", "/data/makini", text)
        text = re.sub(r"(:\d\d)\.\d{6}\+00:00", r"\1+00:00", text)
        text = re.sub(r"req-\d+", "req-00000042", text).replace("127.0.0.1:1:", "api.makini.io:")
        return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "0198…", text)

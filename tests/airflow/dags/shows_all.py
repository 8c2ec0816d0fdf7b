"""A task that shows everything it can get hold of, and then fails."""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from makini_provider.hooks.makini import MakiniHook

log = logging.getLogger("makini_provider.shown")


def show_all(hook: MakiniHook, ti: Any) -> None:
    import pickle

    session = hook.get_conn()
    next(iter(hook.list_records("eam/sites")))
    client = hook.client
    shown = [hook, hook.settings, hook.settings.transport, client, client.transport, session, session.auth]
    for thing in shown:
        log.debug("%r %s", thing, thing)
        print(repr(thing))
    ti.xcom_push("shown", [repr(thing) for thing in shown])
    ti.xcom_push("pickled", repr(pickle.dumps(hook)))
    raise RuntimeError(f"{hook} {hook.settings!r} {session!r}")


with DAG("shows_all", schedule=None):
    PythonOperator(
        task_id="show",
        python_callable=show_all,
        op_kwargs={"hook": MakiniHook()},
        templates_dict={"hook": "{{ task.op_kwargs }}"},
    )

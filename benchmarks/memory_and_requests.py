"""What an initial sync takes, at two sizes side by side: peak memory, and requests beside a plain page walk.

::

    python benchmarks/memory_and_requests.py [SMALL] [LARGE]

The server runs in this process, each sync in one of its own. Only the ratios mean something. It needs Linux,
which tells the peak memory of a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta

from makini_provider.sandbox import Sandbox

PAGE_SIZE = 500

SYNC = """
import json, re, sys
from pathlib import Path
from makini_provider.api.auth import BearerAuth, StaticToken
from makini_provider.api.client import MakiniClient
from makini_provider.api.resources import get_resource
from makini_provider.api.transport import Transport
from makini_provider.destinations.files.destination import FilesDestination
from makini_provider.sync.run import StreamSync
from makini_provider.sync.streams import Source, Stream

url, token, folder, page_size = sys.argv[1:]
transport = Transport(url, BearerAuth(StaticToken(token), url))
client = MakiniClient(transport, page_size=int(page_size), max_parallel_requests=1)
stream = Stream(Source("benchmark"), get_resource("eam/work-orders"))
sync = StreamSync(client, FilesDestination(f"file://{folder}"), stream, run_id="benchmark")
receipt = sync.initial(history=None)
transport.close()
# Not getrusage: a child's peak there begins with what its parent held when it was started.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"records": receipt["records"], "requests": receipt["requests"], "peak_kib": peak}))
"""


def measure(records: int) -> dict[str, int]:
    """Sync so many small records and return what the syncing process says of itself."""
    now = datetime.now(UTC)
    with Sandbox(records=1, max_per_page=PAGE_SIZE) as sandbox, tempfile.TemporaryDirectory() as folder:
        sandbox.store.load("eam/work-orders", [_record(number, records, now) for number in range(records)])
        done = subprocess.run(
            [sys.executable, "-c", SYNC, sandbox.url, sandbox.token, folder, str(PAGE_SIZE)],
            check=True,
            capture_output=True,
            text=True,
        )
    result: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    if result["records"] < records:
        raise SystemExit(f"only {result['records']} of {records} records landed")
    return result


def _record(number: int, records: int, now: datetime) -> dict[str, str | None]:
    at = (now - timedelta(days=80) * (records - number) / records).isoformat(timespec="microseconds")
    time = at.replace("+00:00", "Z")
    return {
        "key": f"WO-{number:08d}",
        "title": "x" * 200,
        "createdAt": time,
        "updatedAt": time,
        "deletedAt": None,
    }


def main() -> None:
    """Measure both sizes and print them with their ratios."""
    small, large = (int(argument) for argument in (*sys.argv[1:], 20_000, 200_000)[:2])
    results = {size: measure(size) for size in (small, large)}
    for size, result in results.items():
        plain = -(-size // PAGE_SIZE)
        print(
            f"{size:>9,} records: peak {result['peak_kib'] / 1024:.0f} MiB, {result['requests']} requests, "
            f"{result['requests'] / plain:.2f} times a plain page walk"
        )
    grown = (results[large]["peak_kib"] - results[small]["peak_kib"]) / 1024
    print(f"{large / small:.0f} times the records take {grown:+.0f} MiB of peak memory")


if __name__ == "__main__":
    main()

"""What an initial sync takes, at two sizes side by side: peak memory, and requests beside a plain page walk.

::

    python -m benchmarks.memory_and_requests [--sizes 20000 200000] [--write]

Server and sync run in a process each, on loopback. ``--write`` puts the table into ``docs/results.md``. It
needs Linux, which tells the peak memory of a process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import page
from benchmarks.quiet_list import MOST_PER_PAGE as PAGE_SIZE

HEADS = (
    "records",
    "requests at a time",
    "peak memory, MiB",
    "requests",
    "times those of a plain page walk",
    "seconds",
)
MOST_SECONDS = 1800
"""After this a sync is given up: something is wrong."""

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

url, folder, page_size, parallel = sys.argv[1:]
transport = Transport(url, BearerAuth(StaticToken("benchmark"), url))
client = MakiniClient(transport, page_size=int(page_size), max_parallel_requests=int(parallel))
stream = Stream(Source("benchmark"), get_resource("eam/work-orders"))
sync = StreamSync(client, FilesDestination(f"file://{folder}"), stream, run_id="benchmark")
receipt = sync.initial(history=None)
transport.close()
# Not getrusage: a child's peak there begins with what its parent held when it was started.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"records": receipt["records"], "requests": receipt["requests"], "peak_kib": peak}))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the syncing process says of itself.

    :param records: committed
    :param requests: sent
    :param peak_mib: the most memory that it held
    :param seconds: from its start to its end
    """

    records: int
    requests: int
    peak_mib: float
    seconds: float

    @property
    def beside_plain_walk(self) -> float:
        """Requests, as a multiple of those of a plain page walk."""
        return self.requests / -(-self.records // PAGE_SIZE)


def measure(records: int, *, parallel: int) -> Measured:
    """Sync so many small records.

    :param parallel: requests at a time
    """
    with _serving(records) as url, tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", SYNC, url, folder, str(PAGE_SIZE), str(parallel)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=MOST_SECONDS,
        )
        seconds = time.monotonic() - started
    result = json.loads(done.stdout.splitlines()[-1])
    if result["records"] != records:
        raise SystemExit(f"{result['records']} of {records} records landed")
    return Measured(records, result["requests"], result["peak_kib"] / 1024, seconds)


@contextmanager
def _serving(records: int) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.quiet_list", str(records)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def main() -> None:
    """Measure each size, one request at a time and four, and print what came."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000], help="numbers of records")
    parser.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    arguments = parser.parse_args()
    rows = []
    for parallel in (1, 4):
        for size in arguments.sizes:
            result = measure(size, parallel=parallel)
            rows.append(
                (
                    f"{result.records:,}",
                    parallel,
                    f"{result.peak_mib:.1f}",
                    result.requests,
                    f"{result.beside_plain_walk:.2f}",
                    f"{result.seconds:.0f}",
                )
            )
    lines = page.table(HEADS, rows)
    print("\n".join(lines))
    if arguments.write:
        page.write("memory", [*lines, "", f"Pages of {PAGE_SIZE} records: {page.versions()}."])


if __name__ == "__main__":
    main()

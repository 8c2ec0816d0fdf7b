"""A list of any length that nobody changes, served over HTTP without holding it: each record follows from its
number. So the server's own weight is no part of what is measured, and millions of records cost it nothing.

::

    python -m benchmarks.quiet_list RECORDS

It prints its URL, and ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

DAYS = 80
PATH = "/api/eam/work-orders"
MOST_PER_PAGE = 500
_MICROSECOND = timedelta(microseconds=1)
_TITLE = "x" * 200


class QuietList:
    """The records, numbered from 0, evenly spread over the last days.

    :param records: how many
    """

    def __init__(self, records: int) -> None:
        self._size = records
        self._step = timedelta(days=DAYS) // records
        self._first = datetime.now(UTC) - self._step * records

    def page(self, query: dict[str, list[str]]) -> bytes:
        """The answer to a list request."""
        begin, end = 0, self._size
        if bound := query.get("filter[updatedAt:gteq]"):
            begin = min(self._place(bound[0]), end)
        if bound := query.get("filter[updatedAt:lt]"):
            end = max(min(self._place(bound[0]), end), begin)
        size = min(int(query["per_page"][0]), MOST_PER_PAGE)
        number = int(query.get("page", ["1"])[0])
        total, skipped = end - begin, (number - 1) * size
        numbers = range(begin, end)
        if query.get("sort[updatedAt]") == ["1"]:
            numbers = numbers[::-1]
        last = max(-(-total // size), 1)
        meta = {"current_page": number, "per_page": size, "last_page": last, "total": total}
        links = {"next": f"{PATH}?page={number + 1}" if number < last else None}
        records = ",".join(self._record(one) for one in numbers[skipped : skipped + size])
        return f'{{"data":[{records}],"links":{json.dumps(links)},"meta":{json.dumps(meta)}}}'.encode()

    def _place(self, bound: str) -> int:
        """The number of the first record that is not before a time."""
        since = (datetime.fromisoformat(bound) - self._first) // _MICROSECOND
        return max(-(-since // (self._step // _MICROSECOND)), 0)

    def _record(self, number: int) -> str:
        time = (self._first + self._step * number).replace(tzinfo=None).isoformat(timespec="microseconds")
        return (
            f'{{"key":"WO-{number:08d}","title":"{_TITLE}","createdAt":"{time}Z","updatedAt":"{time}Z",'
            '"deletedAt":null}'
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one piece
    served: QuietList

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        known = url.path == PATH
        body = self.served.page(parse_qs(url.query)) if known else b'{"error":{"code":"NOT_FOUND"}}'
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: one line for each of thousands of requests helps nobody."""


def main() -> None:
    """Serve until standard input ends."""
    _Handler.served = QuietList(int(sys.argv[1]))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()

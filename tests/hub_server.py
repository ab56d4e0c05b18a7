"""A hub of model files on loopback, with the part of the hub's HTTP API that downloads need."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + "0" * 34
PATH = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class HubServer:
    """A hub that is running.

    Attributes:
        files: by repository and path, as `org/repo/file`.
        gated: repositories that refuse downloads.
        cut: whether it closes the connection in the middle of a file.
        silent: whether it never answers.
        requests: method and path of each request so far.
    """

    url: str
    files: Mapping[str, Path]
    gated: set[str] = field(default_factory=set)
    cut: bool = False
    silent: bool = False
    requests: list[str] = field(default_factory=list)


@contextmanager
def running(files: Mapping[str, Path]) -> Iterator[HubServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def log_message(self, *words: object) -> None:
            pass

        def answer(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            while hub.silent:
                time.sleep(0.05)
            asked = PATH.fullmatch(self.path)
            repository = asked["repository"] if asked else ""
            if repository in hub.gated:
                return self.refuse(403, "GatedRepo")
            if not any(name.startswith(f"{repository}/") for name in hub.files):
                return self.refuse(401, "RepoNotFound")
            if asked["revision"] not in ("main", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            if f"{repository}/{asked['file']}" not in hub.files:
                return self.refuse(404, "EntryNotFound")
            content = hub.files[f"{repository}/{asked['file']}"].read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[: len(content) // 2] if hub.cut else content)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = HubServer(f"http://127.0.0.1:{server.server_address[1]}", files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.silent = False
        server.shutdown()
        server.server_close()

"""Ask a running server with OpenAI's client: `server_client.py [URL]`.

Without an address it starts `trim serve` with the shipped models on loopback.
"""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from openai import OpenAI

QUESTION = (
    "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7. "
    "5) last, add 19. What is the result?"
)


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server that ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "trim.sqlite")
        server = subprocess.Popen(["trim", "serve", "--port", str(port), "--database", database])
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/readyz", server)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait()


def wait_until_ready(url: str, server: subprocess.Popen) -> None:
    while server.poll() is None:
        try:
            urlopen(url, timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"trim serve ended with code {server.returncode}")


def ask(url: str) -> None:
    client = OpenAI(base_url=url, api_key="none")
    answer = client.chat.completions.create(
        model="trim",
        messages=[{"role": "user", "content": QUESTION}],
        extra_body={"trim": {"strong_share": 0.2}},
    )
    print(answer.choices[0].message.content)
    print(f"{answer.usage.trim['strong_tokens']} strong tokens")


def main() -> None:
    if sys.argv[1:]:
        ask(sys.argv[1])
    else:
        with serving() as url:
            ask(url)


if __name__ == "__main__":
    main()

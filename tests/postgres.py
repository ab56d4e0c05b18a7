"""A real PostgreSQL on loopback for tests, in a folder of its own; started once, ended at exit."""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

USER = "trim"


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@cache
def start() -> str | None:
    """The address of the server; None where PostgreSQL is not installed."""
    folder = programs()
    if folder is None:
        return None
    data = Path(tempfile.mkdtemp(prefix="trim-postgres-"))
    account = None
    if os.geteuid() == 0:  # PostgreSQL refuses to be run by root.
        account = pwd.getpwnam("nobody")
        os.chown(data, account.pw_uid, account.pw_gid)
    as_nobody = {"user": account.pw_uid, "group": account.pw_gid} if account else {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(
        [folder / "initdb", "-D", data / "db", "-U", USER, "-A", "trust", "-E", "UTF8", "-N"],
        check=True, capture_output=True, cwd=data, **as_nobody,
    )  # fmt: skip
    server = subprocess.Popen(
        [
            *(folder / "postgres", "-D", data / "db", "-p", str(port), "-k", data),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=data, **as_nobody,
    )  # fmt: skip
    atexit.register(stop, server, data)
    for _ in range(200):
        ready = subprocess.run(
            [folder / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], capture_output=True
        )
        if ready.returncode == 0:
            return f"postgresql://{USER}@127.0.0.1:{port}"
        time.sleep(0.05)
    raise RuntimeError("PostgreSQL did not start")


def fresh() -> str | None:
    """The address of a new database; None where PostgreSQL is not installed."""
    server, folder = start(), programs()
    if server is None or folder is None:
        return None
    name = f"trim_{secrets.token_hex(4)}"
    subprocess.run([folder / "psql", "-q", f"{server}/postgres", "-c", f"CREATE DATABASE {name}"],
                   check=True, timeout=60)  # fmt: skip
    return f"{server}/{name}"


def stop(server: subprocess.Popen[bytes], data: Path) -> None:
    server.terminate()
    server.wait()
    shutil.rmtree(data, ignore_errors=True)

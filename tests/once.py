"""Folders that are made once, for all processes of a run of the tests."""

import os
from pathlib import Path

from filelock import FileLock


def once(factory, name, make):
    """The folder that `make(folder)` fills; processes that come while it is made wait for it."""
    base = factory.getbasetemp()
    # Each process of xdist has a folder of its own below the one of the run.
    folder = Path(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = factory.mktemp(name)
            make(part)
            part.rename(folder)
    return folder

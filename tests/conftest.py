"""Settings of all tests, and the databases of those that need one."""

import gc
import signal

import postgres
import pytest
import quick_pictures
from hypothesis import settings

from trim.server.storage.database import open_database

# A shell's background jobs ignore Ctrl-C, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine may hold up any example.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_finish():
    # What is loaded by now stays, and takes a tenth of the time where it is looked at as garbage.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def pictures_of_nothing(request, monkeypatch):
    """Unless a test is about `pictures`."""
    if request.node.get_closest_marker("pictures") is None:
        for module in quick_pictures.places():
            monkeypatch.setattr(module, "rendered", quick_pictures.nothing)


@pytest.fixture
def puzzles_alone(monkeypatch):
    """Of the exercises the shipped models solve puzzles only; the others need minutes."""
    from trim.checks.exercises import PUZZLES

    monkeypatch.setattr("trim.checks.exercises.KINDS", (PUZZLES,))


@pytest.fixture(scope="module")
def shared():
    """The browser of a module's tests."""
    from browser import browser

    with browser() as page:
        yield page


@pytest.fixture
def page(shared):
    """The browser, in which no script may have failed and nothing may have come from elsewhere."""
    yield shared
    complaints = [said for said in shared.errors_of_the_console() if "Failed to load" not in said]
    assert complaints == []


@pytest.fixture(params=["sqlite", "postgresql"])
async def address(request, tmp_path):
    if request.param == "sqlite":
        yield str(tmp_path / "trim.sqlite")
        return
    database = postgres.fresh()
    if database is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    yield database


@pytest.fixture
async def engine(address):
    opened = await open_database(address)
    yield opened
    await opened.dispose()

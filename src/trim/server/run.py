"""Starting and stopping a server."""

from __future__ import annotations

from pathlib import Path

import uvicorn

from trim.lineup import Lineup
from trim.server.app import make_app
from trim.server.limits import Limits
from trim.server.menu import Menu, read_curve
from trim.server.service import Service

USUAL_POLICY = "thr:0.5"


def open_service(
    lineup: Lineup, limits: Limits, spec: str | None = None, curve: Path | None = None
) -> Service:
    """Load or reach the models, and offer their routers.

    Args:
        spec: of the usual router; the lineup's own where None.
        curve: what was measured of routers (`trim.server.menu.read_curve`).

    Raises:
        InvalidInput: a wrong policy or curve, or a model that does not work.
        ModelUnavailable: a server does not answer.
    """
    usual = spec or lineup.policy or USUAL_POLICY
    menu = Menu(usual, {}, read_curve(curve) if curve else ())
    return Service(lineup, lineup.load(), menu, limits)


def serve(service: Service, host: str, port: int) -> None:
    """Answer until the process is told to stop; answers under way are finished first."""
    uvicorn.run(
        make_app(service),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(service.limits.shutdown),
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
    )

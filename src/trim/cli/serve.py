"""Serving models: `trim serve`, and `trim export` for other servers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from trim.cli.keys import database_option
from trim.cli.options import (
    choose_source,
    configuration_argument,
    models_option,
    path_type,
    set_option,
)
from trim.cli.terminal import echo
from trim.server.access_log import LogFormat
from trim.server.admission import Limits
from trim.server.run import Serving, serve
from trim.shipped.export import export_models

DEFAULTS = Limits()


@click.command("serve")
@configuration_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8400, show_default=True, help="Port."
)
@click.option(
    "--policy",
    "spec",
    show_default="the configuration's, or thr:0.5",
    help="Policy of the model `trim`.",
)
@click.option(
    "--curve",
    type=path_type,
    help="summary.json of `trim eval`, to offer models by their cost.",
)
@click.option(
    "--running",
    type=click.IntRange(min=1),
    default=DEFAULTS.running,
    show_default=True,
    help="Solutions at the same time.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=0),
    default=DEFAULTS.queue,
    show_default=True,
    help="Solutions that wait for a place; further requests are refused.",
)
@click.option(
    "--requests-per-key",
    type=click.IntRange(min=1),
    default=DEFAULTS.requests_per_key,
    show_default=True,
    help="Requests of one key at once, over all servers on the database.",
)
@click.option(
    "--target-share",
    type=click.FloatRange(0, 1),
    help="Hold the model `trim` at this share of strong tokens by adjusting its setting.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes behind the port, each with its own models, --running and --queue.",
)
@click.option(
    "--log-format",
    type=click.Choice([kind.value for kind in LogFormat]),
    show_default="text on a terminal, else json",
    help="Format of the access log on stderr.",
)
@click.option("--keep-texts", is_flag=True, help="Record questions and answers in the database.")
@database_option
@models_option
@set_option
def serve_command(
    configuration: Path | None,
    host: str,
    port: int,
    spec: str | None,
    curve: Path | None,
    running: int,
    queue: int,
    requests_per_key: int,
    target_share: float | None,
    workers: int,
    log_format: str | None,
    keep_texts: bool,
    database: str,
    models: Path,
    assignments: tuple[str, ...],
) -> None:
    """Serve the router through an OpenAI-compatible API.

    It listens at http://HOST:PORT/v1. CONFIG is a configuration file
    (docs/reference/configuration.md), by default the shipped models.
    """
    source = choose_source(configuration, assignments, models)
    limits = replace(DEFAULTS, running=running, queue=queue, requests_per_key=requests_per_key)
    default = LogFormat.TEXT if sys.stderr.isatty() else LogFormat.JSON
    serving = Serving(
        host,
        port,
        database,
        limits,
        spec,
        curve,
        keep_texts,
        target_share,
        workers,
        LogFormat(log_format or default),
    )
    serve(source, serving)


@click.command()
@click.argument("folder", type=path_type)
@models_option
def export(folder: Path, models: Path) -> None:
    """Export the shipped models as Hugging Face checkpoints.

    They are written to FOLDER/weak, FOLDER/strong and FOLDER/scorer, for vLLM and other servers.
    """
    for checkpoint in export_models(models, folder):
        size = sum(path.stat().st_size for path in checkpoint.iterdir())
        echo(f"{checkpoint}: {size / 1e6:.1f} MB")

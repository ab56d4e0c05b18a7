"""`trim serve`: the router behind OpenAI's API."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from trim.cli.keys import database_option
from trim.cli.options import choose_lineup, configuration_argument, models_option, set_option
from trim.server.access_log import LogFormat
from trim.server.admission import Limits
from trim.server.run import Serving, serve
from trim.shipped import FOLDER
from trim.shipped.export import export_models

USUAL = Limits()


@click.command("serve")
@configuration_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8400, show_default=True)
@click.option(
    "--policy", "spec", show_default="the configuration's, or thr:0.5", help="The model `trim`."
)
@click.option(
    "--curve",
    type=click.Path(path_type=Path),
    help="summary.json of `trim eval`, from which routers are chosen by what they cost.",
)
@click.option(
    "--running",
    type=click.IntRange(min=1),
    default=USUAL.running,
    show_default=True,
    help="Solutions under way together.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=0),
    default=USUAL.queue,
    show_default=True,
    help="Solutions that may wait.",
)
@click.option(
    "--target-share",
    type=click.FloatRange(0, 1),
    help="Share of strong tokens that the model `trim` is held at, by moving its setting.",
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
    help="Of the line on stderr for each request.",
)
@click.option("--keep-texts", is_flag=True, help="Keep questions and answers in the database.")
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
    target_share: float | None,
    workers: int,
    log_format: str | None,
    keep_texts: bool,
    database: str,
    models: Path,
    assignments: tuple[str, ...],
) -> None:
    """Answer OpenAI's API at http://HOST:PORT/v1.

    CONFIG is a configuration file (docs/configuration.md); without one the shipped models solve.
    """
    lineup = choose_lineup(configuration, assignments, models)
    limits = replace(USUAL, running=running, queue=queue)
    usual = LogFormat.TEXT if sys.stderr.isatty() else LogFormat.JSON
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
        LogFormat(log_format or usual),
    )
    serve(lineup, serving)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=FOLDER,
    show_default="the shipped models",
    help="Folder with weak.gguf, strong.gguf and scorer.gguf.",
)
def export(folder: Path, models: Path) -> None:
    """Write the models to FOLDER as Hugging Face checkpoints, for vLLM and others to serve."""
    for checkpoint in export_models(models, folder):
        size = sum(path.stat().st_size for path in checkpoint.iterdir())
        click.echo(f"{checkpoint}: {size / 1e6:.1f} MB")

"""`trim export`: the models as checkpoints that other engines serve."""

from __future__ import annotations

from pathlib import Path

import click

from trim.embedded import FOLDER
from trim.embedded.export import export_models


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

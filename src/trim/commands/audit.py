"""`trim audit`: whether a bank's scorer is fit to route with."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from trim.bank.bank import read_bank
from trim.files import write_atomically
from trim.laboratory.audit import audit
from trim.laboratory.audit_page import audit_figures, audit_page
from trim.laboratory.page import NAME, folder_for, print_page, write_page
from trim.laboratory.picture import write_figure

path_type = click.Path(path_type=Path)


@click.command("audit")
@click.argument("bank", type=path_type)
@click.option("--against", type=path_type, help="An earlier bank, to look for drift since then.")
@click.option("--out", type=path_type, help="Folder for report, pictures and audit.json.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def audit_command(bank: Path, against: Path | None, out: Path | None, as_json: bool) -> None:
    """Say whether the scorer behind a BANK is fit to route with, and why (docs/laboratory.md)."""
    earlier = (against, read_bank(against)) if against else None
    found = audit(read_bank(bank), bank, earlier)
    figures = audit_figures(found)
    page = audit_page(found, figures)
    record = json.dumps(found.to_json(), indent=2, allow_nan=False)
    if out:
        with folder_for(out):
            write_atomically(out / "audit.json", record + "\n")
            for name, figure in figures.items():
                write_figure(figure, [out / f"{name}.{kind}" for kind in ("svg", "png")])
        write_page(page, out)
    if as_json:
        click.echo(record)
        return
    console = Console(highlight=False)
    print_page(console, page)
    if out:
        console.print(f"report  {out / NAME}", soft_wrap=True)

"""`likeness doctor`."""

from __future__ import annotations

import dataclasses
from typing import Final

import typer

from likeness._cli.checks import find_all
from likeness._cli.options import DEFAULT_DATA_DIR, URL, DataDir, Json, Url
from likeness._cli.output import console, print_json, working

_MARK: Final = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "fault": "[bold red]fault[/]"}


def doctor(data_dir: DataDir = DEFAULT_DATA_DIR, url: Url = URL, as_json: Json = False) -> None:
    """Look whether everything is in place, and say what to do about what is not. Exit code 1 on a fault."""
    from rich.markup import escape

    with working("Looking around"):
        findings = list(find_all(data_dir, url))
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            console.print(f"{_MARK[finding.status]} {finding.what:14} {escape(finding.detail)}", highlight=False)
            if finding.advice:
                console.print(f"{'':21}-> {escape(finding.advice)}", style="dim", highlight=False, soft_wrap=True)
    if any(finding.status == "fault" for finding in findings):
        raise typer.Exit(1)

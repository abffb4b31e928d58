"""`likeness demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from likeness._cli.options import Json
from likeness._cli.output import complain, errors, print_json, print_table, progress_bar, say
from likeness._stack import StackEvent, State

FILES: Final = (
    "speech.wav",
    "speech.png",
    "swap.png",
    "swap_compared.png",
    "film.mp4",
    "film_compared.png",
    "report.json",
)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.", file_okay=False)] = Path(
        "out/demo"
    ),
    as_json: Json = False,
) -> None:
    """Clone a sample voice and swap a sample face, through a stack started for it."""
    try:
        from likeness._demo import run_demo
        from likeness._demo.report import write_report
        from services.common.errors import LikenessError
    except ModuleNotFoundError as error:
        complain(f"The demo needs the package {error.name}: pip install 'likeness[cpu,demo]'")
        raise typer.Exit(1) from error

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with progress_bar(*columns) as progress:
        task = progress.add_task("", total=None)

        def on_step(what: str) -> None:
            progress.update(task, description=what)
            if not errors.is_terminal:
                complain(what, style="")

        def on_event(event: StackEvent) -> None:
            if event.state in (State.WAITING, State.FAILED):
                complain(event.detail, style="yellow")

        try:
            output = run_demo(out, on_step=on_step, on_event=on_event)
        except LikenessError as error:
            complain(error.row.title)
            complain(error.detail, style="")
            raise typer.Exit(1) from error
    report = write_report(output)
    if as_json:
        print_json(report)
    else:
        _show(report, out)


def _show(report: dict[str, Any], out: Path) -> None:
    voice, timings_s, memory_mb = report["voice"], report["timings_s"], report["idle_memory_mb"]
    rows: list[tuple[str, str, str]] = [
        ("speech", f"{voice['audio_seconds']:.1f} s", "out of ten seconds of the persona's voice"),
        ("real-time factor", _number(voice["real_time_factor"], 2), "seconds of computing per second of speech"),
        ("first audio after", f"{_number(voice['time_to_first_audio_ms'], 0)} ms", "from request to first samples"),
        ("speaker similarity", _number(voice["speaker_similarity"], 2), "cosine to the persona; 1 is the same"),
    ]
    for face in report["face"]["swapped"]:
        rows += [
            ("face to source", _number(face["distance_to_source"], 2), "dlib distance; below 0.6 is the same person"),
            ("face to target", _number(face["distance_to_target"], 2), "the same to the face it replaced"),
        ]
    film = report["film"]
    rows += [
        ("film", f"{film['frames']} frames", f"{film['width_px']} x {film['height_px']}, one face"),
        ("film, per second", f"{film['frames_per_second']:.1f} frames", "from request to finished file"),
        ("memory, idle", f"{memory_mb['together']:.0f} MB", "four stages and the gateway"),
        ("everything took", f"{timings_s['total']:.1f} s", f"of which start {timings_s['stack_start']:.1f} s"),
    ]
    print_table("Likeness demo", ("what", "measured", ""), rows, empty="")
    for name in (
        "speech.wav",
        "speech.png",
        "swap.png",
        "swap_compared.png",
        "film.mp4",
        "film_compared.png",
        "report.json",
    ):
        say(f"  {out / name}")


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) else "-"

"""`likeness record`."""

from __future__ import annotations

import wave
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from likeness._cli import microphone
from likeness._cli.options import OutFile, writable
from likeness._cli.output import complain, progress_bar, say

QUIET_PEAK: Final = 0.03
CLIPPED_PEAK: Final = 0.999


def record(
    out: OutFile,
    seconds: Annotated[float, typer.Option(min=1.0, max=600.0, help="How long.")] = 10.0,
) -> None:
    """Record from the microphone, as sample for a voice."""
    if writable(out).suffix.lower() != ".wav":
        raise typer.BadParameter(f"recordings are WAV files; end the name with .wav, not {out.suffix or 'nothing'!r}")
    peak = 0.0
    columns = (TextColumn("Recording"), BarColumn(), TimeRemainingColumn(), TextColumn("level {task.fields[level]}"))
    try:
        with progress_bar(*columns) as progress:
            task = progress.add_task("Recording", total=seconds, level="")

            def show(done_s: float, level: float) -> None:
                nonlocal peak
                peak = max(peak, level)
                progress.update(task, completed=done_s, level="#" * round(20 * level))

            samples = microphone.record(seconds, show)
    except microphone.SoundDeviceError as error:
        complain(str(error))
        raise typer.Exit(1) from error
    with wave.open(str(out), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(microphone.RECORD_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
    say(f"{out}: {seconds:.1f} s")
    if peak < QUIET_PEAK:
        complain("It is very quiet; go closer to the microphone and try again.", style="yellow")
    elif peak > CLIPPED_PEAK:
        complain("It is clipped; turn the microphone down and try again.", style="yellow")

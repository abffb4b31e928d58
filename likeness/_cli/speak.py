"""`likeness speak`."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import wave
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer
from rich.progress import DownloadColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from likeness._cli.microphone import SoundDeviceError, play
from likeness._cli.options import URL, ApiKey, Json, OutFile, Url, writable
from likeness._cli.output import complain, print_json, progress_bar, say
from likeness._client import Client
from likeness._subtitles import to_srt, to_vtt
from likeness._types import Speech, Word

MAX_CHARACTERS: Final = 4096  # markup is not counted; that is left to the server
MARKUP: Final = re.compile(r"\s*<(?:speak|\?xml)|<break\b")


class AudioFormat(enum.StrEnum):
    wav = "wav"
    mp3 = "mp3"
    flac = "flac"
    opus = "opus"
    aac = "aac"
    pcm = "pcm"


_FORMAT_OF_SUFFIX: Final = {f".{format.value}": format for format in AudioFormat} | {".ogg": AudioFormat.opus}


def speak(
    text: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.", show_default=False)],
    voice: Annotated[str, typer.Option(help="Id or name of the voice.", show_default=False)],
    out: OutFile,
    format: Annotated[
        AudioFormat | None, typer.Option(help="By default what the file name ends with.", show_default=False)
    ] = None,
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="1 is the voice's own pace.")] = 1.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed gives the same audio.", show_default=False)
    ] = None,
    pitch: Annotated[float, typer.Option(min=-12.0, max=12.0, help="Higher or lower by so many semitones.")] = 0.0,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=1.5, help="How much it varies with the seed; 0 is not at all.")
    ] = 1.0,
    pronounce: Annotated[
        list[str] | None,
        typer.Option(help="WORD=PRONUNCIATION (ARPAbet, /IPA/, or other words); may be repeated.", show_default=False),
    ] = None,
    dictionary: Annotated[
        Path | None, typer.Option(help="JSON file of words and their pronunciations.", show_default=False)
    ] = None,
    timestamps: Annotated[
        Path | None,
        typer.Option(help="Also write when each word is spoken: .json, .srt or .vtt.", show_default=False),
    ] = None,
    play_it: Annotated[bool, typer.Option("--play/--no-play", help="Play it afterwards.")] = False,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Speak a text with an enrolled voice: plain, with <break time="300ms"/> in it, or SSML (<speak>...</speak>)."""
    if text == "-":
        text = typer.get_text_stream("stdin").read().strip()
    if not text.strip():
        raise typer.BadParameter("the text is empty; give a sentence, or - to read it from standard input")
    if len(text) > MAX_CHARACTERS and not MARKUP.search(text):
        raise typer.BadParameter(
            f"the text has {len(text)} characters, {MAX_CHARACTERS} are allowed; split it into several calls"
        )
    chosen = format or _FORMAT_OF_SUFFIX.get(writable(out).suffix.lower())
    if chosen is None:
        raise typer.BadParameter(
            f"cannot tell the format from {out.name!r}; add --format, or end it with {', '.join(_FORMAT_OF_SUFFIX)}"
        )
    if play_it and chosen is not AudioFormat.wav:
        raise typer.BadParameter(f"--play plays wav only, not {chosen.value}; leave it out or use --format wav")
    if timestamps is not None and timestamps.suffix.lower() not in TIMESTAMP_WRITERS:
        known = ", ".join(TIMESTAMP_WRITERS)
        raise typer.BadParameter(f"--timestamps {timestamps.name!r}: end the file's name with {known}")
    options = {
        "speed": speed,
        "seed": seed,
        "pitch_shift": pitch or None,
        "temperature": None if temperature == 1.0 else temperature,
        "dictionary": read_dictionary(dictionary, pronounce or []),
        "timestamps": timestamps is not None,
    }
    # The file appears only when it is whole.
    part = out.with_name(out.name + ".part")
    try:
        with Client(url, api_key) as client, part.open("wb") as file:
            speech = _receive(client, text, voice, chosen, options, file)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    if timestamps is not None:
        writable(timestamps).write_text(TIMESTAMP_WRITERS[timestamps.suffix.lower()](speech.words), encoding="utf-8")
    if as_json:
        about = {"file": str(out), "job": speech.job_id, "content_type": speech.content_type}
        about |= {} if timestamps is None else {"timestamps": str(timestamps)}
        print_json(about | dataclasses.asdict(speech.figures))
    else:
        say(f"{out}: {describe(speech)}")
    if play_it:
        _play(out)


def _receive(
    client: Client, text: str, voice: str, format: AudioFormat, options: Mapping[str, Any], file: IO[bytes]
) -> Speech:
    columns = (SpinnerColumn(), TextColumn("Speaking"), DownloadColumn(), TimeElapsedColumn())
    with progress_bar(*columns) as progress:
        task = progress.add_task("Speaking", total=None)

        def write(chunk: bytes) -> None:
            file.write(chunk)
            progress.advance(task, len(chunk))

        return client.speak(text, voice=voice, format=format.value, to=write, **options)


def read_dictionary(path: Path | None, pairs: Sequence[str]) -> dict[str, str]:
    """Words and their pronunciations, of a file and of WORD=PRONUNCIATION pairs, which win."""
    entries: dict[str, str] = {}
    if path is not None:
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise typer.BadParameter(f"--dictionary {path}: {error}") from error
        if not isinstance(entries, dict) or not all(isinstance(sound, str) for sound in entries.values()):
            raise typer.BadParameter(f'--dictionary {path}: an object such as {{"GIF": "JH IH1 F"}} was expected')
    for pair in pairs:
        word, equals, sound = pair.partition("=")
        if not equals or not word.strip() or not sound.strip():
            raise typer.BadParameter(f"--pronounce {pair!r}: write it like GIF='JH IH1 F'")
        entries[word.strip()] = sound.strip()
    return entries


def _as_json(words: Sequence[Word]) -> str:
    return json.dumps({"words": [dataclasses.asdict(word) for word in words]}, ensure_ascii=False, indent=2) + "\n"


TIMESTAMP_WRITERS: Final[Mapping[str, Callable[[Sequence[Word]], str]]] = {
    ".json": _as_json,
    ".srt": to_srt,
    ".vtt": to_vtt,
}


def describe(speech: Speech) -> str:
    figures = speech.figures
    said = [f"{speech.size_bytes / 1024:.0f} KiB"]
    if figures.real_time_factor is not None:
        said.append(f"real-time factor {figures.real_time_factor:.2f}")
    if figures.time_to_first_audio_ms is not None:
        said.append(f"first audio after {figures.time_to_first_audio_ms:.0f} ms")
    if figures.speaker_similarity is not None:
        said.append(f"similarity to the voice {figures.speaker_similarity:.2f}")
    return ", ".join(said)


def _play(path: Path) -> None:
    with wave.open(str(path)) as file:
        samples = file.readframes(file.getnframes())
        rate_hz = file.getframerate()
    try:
        play(samples, rate_hz)
    except SoundDeviceError as error:
        complain(f"Not played: {error}", style="yellow")

"""`likeness swap`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from likeness._cli.film_bar import film_bar
from likeness._cli.options import URL, ApiKey, Json, OutFile, Url, writable
from likeness._cli.output import complain, print_json, say
from likeness._cli.uploads import media_if_large
from likeness._client import Client
from likeness._errors import LikenessClientError
from likeness._swaps import SwapJob

_FORMAT_OF_SUFFIX: Final = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".webm": "webm",
    ".gif": "gif",
}
_REGIONS: Final = ("skin", "brows", "eyes", "nose", "mouth")
_InFile = {"exists": True, "dir_okay": False, "show_default": False}


def swap(
    target: Annotated[Path, typer.Option(help="Picture or film to put it into.", **_InFile)],
    out: OutFile,
    source: Annotated[
        list[Path] | None,
        typer.Option(help="Picture of the face to put in; several of the same person make it better.", **_InFile),
    ] = None,
    consent: Annotated[
        str | None, typer.Option(help="Id of the face consent for the source.", show_default=False)
    ] = None,
    faces: Annotated[
        str,
        typer.Option(
            help="Which faces of the target: largest, all, numbers from the left (0,1), or a picture of the person."
        ),
    ] = "largest",
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="An enrolled face and a number from the left: FACE=INDEX; several times.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.01, max=2.0, help="How near a face must be to the picture in --faces.", show_default=False),
    ] = None,
    start: Annotated[float | None, typer.Option(min=0, help="Films: from this second.", show_default=False)] = None,
    end: Annotated[float | None, typer.Option(min=0, help="Films: to this second.", show_default=False)] = None,
    format: Annotated[
        str | None, typer.Option(help="png, jpeg, webp; mp4, webm, gif. By default as --out ends.", show_default=False)
    ] = None,
    height: Annotated[int | None, typer.Option(help="Films: height of the result.", show_default=False)] = None,
    crf: Annotated[
        int | None, typer.Option(min=0, max=63, help="Films: quality; lower is better.", show_default=False)
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Name of a registered engine.", show_default=False)] = None,
    enhancer: Annotated[str | None, typer.Option(help="Name of a registered enhancer.", show_default=False)] = None,
    pixel_boost: Annotated[
        int | None, typer.Option(min=1, max=4, help="Neural engines: multiples of their own size.", show_default=False)
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help=f"Parts to replace, of {', '.join(_REGIONS)}.", show_default=False)
    ] = None,
    keep_occluders: Annotated[
        bool | None,
        typer.Option("--keep-occluders/--no-keep-occluders", help="Keep what lies before the face before it."),
    ] = None,
    shape_strength: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of the source's shape carried over.", show_default=False),
    ] = None,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Put the face of one or several pictures into a picture or a film. Ctrl-C cancels."""
    format = format or _FORMAT_OF_SUFFIX.get(writable(out).suffix.lower())
    if format is None:
        ends = "end the name with .png, .jpg, .webp, .mp4, .webm or .gif, or give --format"
        raise typer.BadParameter(f"cannot tell the format from {out.name!r}; {ends}")
    if not source and not map_:
        raise typer.BadParameter("name a picture of the face with --source, or an enrolled face with --map FACE=INDEX")
    if source and not consent:
        raise typer.BadParameter("a picture of a face needs --consent: the id of the person's face consent")
    mapped = [_mapping(item) for item in map_ or ()]
    options: dict[str, Any] = {
        "format": format,
        "start_s": start,
        "end_s": end,
        "height_px": height,
        "crf": crf,
        "engine": engine,
        "enhancer": enhancer,
        "pixel_boost": pixel_boost,
        "regions": _regions(regions),
        "keep_occluders": keep_occluders,
        "shape_strength": shape_strength,
    }
    chosen = _selections(faces, threshold)
    with Client(url, api_key) as client, _own_face(client, source or [], consent) as face:
        people = mapped if face is None else [*({"face": face, **item} for item in chosen), *mapped]
        media = media_if_large(client, target, "swap_target")
        options |= {"target": target} if media is None else {"target_media": media}
        with film_bar("Swapping") as show:
            job = client.swaps.create(assignments=people, **options)
            _wait(job, show)
        job.save(out)
    if as_json:
        print_json({"file": str(out), "job": job.id, **job.figures})
    else:
        say(f"{out}: {_told(job)}")


def _selections(faces: str, threshold: float | None) -> list[dict[str, Any]]:
    """What --faces says, as parts of assignments."""
    if faces in ("largest", "all"):
        return [{"selection": faces}]
    if all(part.strip().isdigit() for part in faces.split(",")):
        return [{"selection": "index", "index": int(part)} for part in dict.fromkeys(faces.split(","))]
    if Path(faces).is_file():
        return [{"selection": "reference", "reference": Path(faces), "threshold": threshold}]
    raise typer.BadParameter(f"--faces {faces!r} is neither largest, all, numbers such as 0,1, nor a picture file")


def _mapping(text: str) -> dict[str, Any]:
    face, separator, index = text.rpartition("=")
    if not separator or not face or not index.isdigit():
        raise typer.BadParameter(f"--map {text!r}: expected FACE=INDEX, such as ada=0")
    return {"face": face, "selection": "index", "index": int(index)}


def _regions(text: str | None) -> list[str] | None:
    if text is None:
        return None
    named = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in named if name not in _REGIONS]
    if unknown or not named:
        raise typer.BadParameter(f"--regions {text!r}: name some of {', '.join(_REGIONS)}, separated by commas")
    return named


@contextmanager
def _own_face(client: Client, source: Sequence[Path], consent: str | None) -> Iterator[str | None]:
    """A face enrolled for this swap alone; None without pictures."""
    if not source:
        yield None
        return
    face = client.faces.enrol(source, consent=str(consent))
    try:
        yield face.id
    finally:
        client.faces.delete(face.id)


def _wait(job: SwapJob, show: Any) -> None:
    """Waits; whatever interrupts that cancels the job."""
    try:
        job.wait(on_progress=show)
    except KeyboardInterrupt:
        try:
            job.cancel()
            complain(f"{job.id} is cancelled.")
        except LikenessClientError as error:
            complain(f"{job.id} could not be cancelled: {error}")
        raise


def _told(job: SwapJob) -> str:
    figures = job.figures
    if figures.get("frames"):
        swapped = sum(person["frames_swapped"] for person in figures.get("people", ()))
        rate = f"{figures['frames_per_second']:.1f} frames per second"
        return f"{figures['frames']} frames, {swapped} faces swapped in {figures['seconds']:.1f} s ({rate})"
    count = len(figures.get("faces", ()))
    return f"{count} face{'s' if count != 1 else ''} swapped"

"""Writes GIF and animated WebP from the segments of a film."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import av
import av.error
import av.filter

from services.common.errors import LikenessError

MAX_ANIMATION_PIXELS: Final = 1_000_000_000  # of all pictures together
WEBP_QUALITY: Final = 85
GIF_STEP: Final = Fraction(1, 100)  # what a GIF counts time in
GIF_SHORTEST: Final = 2  # of these steps; players show shorter ones slowly
LOOP_FOREVER: Final = "0"
AnimationFormat = Literal["gif", "webp"]


@dataclass(frozen=True)
class Timeline:
    """Times of the segments' pictures: in `time_base`, from `start_pts`, which becomes 0, to `end_pts`."""

    time_base: Fraction
    start_pts: int
    end_pts: int

    def duration(self, step: Fraction) -> int:
        return max(1, round((self.end_pts - self.start_pts) * self.time_base / step))


def write_animation(segments: Sequence[Path], timeline: Timeline, out: Path, format: AnimationFormat) -> int:
    """Decodes the segments and writes an animation that repeats for ever; returns the number of its pictures.

    A GIF gets one palette of 256 colours, made of all pictures; those closer than 0.02 s are left out.

    Raises:
        LikenessError: MEDIA_TOO_LARGE when it has too many pixels.
    """
    return (_write_gif if format == "gif" else _write_webp)(segments, timeline, out)


def _pictures(segments: Sequence[Path], timeline: Timeline, step: Fraction, least: int) -> Iterator[Any]:
    """Decoded pictures with times in `step`, at least `least` of them apart."""
    last, pixels = -least, 0
    for path in segments:
        with av.open(str(path), format="nut") as source:
            stream: Any = source.streams.video[0]
            for frame in source.decode(stream):
                pixels += frame.width * frame.height
                if pixels > MAX_ANIMATION_PIXELS:
                    detail = "The film is too long or too large for an animation; make it smaller, or choose MP4."
                    raise LikenessError("MEDIA_TOO_LARGE", detail, field="format")
                at_s = frame.pts * Fraction(stream.time_base) - timeline.start_pts * timeline.time_base
                at = round(at_s / step)
                if at - last >= least:
                    last = at
                    frame.pts, frame.time_base = at, step
                    yield frame


def _add_stream(output: Any, codec: str, frame: Any, pixel_format: str, step: Fraction, **options: str) -> Any:
    stream = output.add_stream(codec, rate=round(1 / step), options=options)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixel_format
    context.time_base = stream.time_base = step
    return stream


def _write_webp(segments: Sequence[Path], timeline: Timeline, out: Path) -> int:
    step, count = Fraction(1, 1000), 0
    with av.open(str(out), "w", format="webp", container_options={"loop": LOOP_FOREVER}) as output:
        stream: Any = None
        waiting: Any = None  # a picture whose duration is known only with the next one
        for frame in _pictures(segments, timeline, step, 1):
            if stream is None:
                stream = _add_stream(output, "libwebp_anim", frame, "yuv420p", step, quality=str(WEBP_QUALITY))
            if waiting is not None:
                waiting.duration = frame.pts - waiting.pts
                output.mux(stream.encode(waiting))
            waiting = frame
            count += 1
        waiting.duration = max(1, timeline.duration(step) - waiting.pts)
        output.mux(stream.encode(waiting))
        output.mux(stream.encode(None))
    return count


def _write_gif(segments: Sequence[Path], timeline: Timeline, out: Path) -> int:
    frames = 0
    palette, last = _palette(segments, timeline)
    options = {"loop": LOOP_FOREVER, "final_delay": str(max(GIF_SHORTEST, timeline.duration(GIF_STEP) - last))}
    with av.open(str(out), "w", format="gif", container_options=options) as output:
        stream: Any = None
        graph: _PaletteUse | None = None
        for frame in _pictures(segments, timeline, GIF_STEP, GIF_SHORTEST):
            if graph is None:
                stream = _add_stream(output, "gif", frame, "pal8", GIF_STEP)
                graph = _PaletteUse(frame, palette)
            for paletted in graph.push(frame):
                output.mux(stream.encode(paletted))
            frames += 1
        for paletted in graph.push(None) if graph is not None else ():
            output.mux(stream.encode(paletted))
        output.mux(stream.encode(None))
    return frames


def _palette(segments: Sequence[Path], timeline: Timeline) -> tuple[Any, int]:
    """The 256 colours for all pictures, as a picture of 16 x 16 pixels, and the time of the last picture."""
    graph: Any = None
    last = 0
    for frame in _pictures(segments, timeline, GIF_STEP, GIF_SHORTEST):
        if graph is None:
            graph = av.filter.Graph()
            entry = _entry(graph, frame)
            made, sink = graph.add("palettegen", "stats_mode=diff:reserve_transparent=0"), graph.add("buffersink")
            entry.link_to(made)
            made.link_to(sink)
            graph.configure()
        last = frame.pts
        entry.push(frame)
    entry.push(None)
    return sink.pull(), last


def _entry(graph: Any, frame: Any) -> Any:
    return graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=GIF_STEP)


class _PaletteUse:
    """Pictures in the colours of a palette."""

    def __init__(self, frame: Any, palette: Any) -> None:
        graph = av.filter.Graph()
        self._graph = graph  # keeps the filters alive
        self._entry, palette_entry = _entry(graph, frame), _entry(graph, palette)
        used, self._sink = graph.add("paletteuse", "dither=sierra2_4a:diff_mode=rectangle"), graph.add("buffersink")
        self._entry.link_to(used, 0, 0)
        palette_entry.link_to(used, 0, 1)
        used.link_to(self._sink)
        graph.configure()
        palette.pts, palette.time_base = 0, GIF_STEP
        palette_entry.push(palette)
        palette_entry.push(None)

    def push(self, frame: Any | None) -> Iterator[Any]:
        """Takes a picture, or None for the end, and gives those that are ready."""
        self._entry.push(frame)
        while True:
            try:
                yield self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return

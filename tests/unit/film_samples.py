"""Films made for the tests: every picture tells its number, in eight grey fields that survive any coding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.film import FilmCoding, FilmInfo, SegmentSpan, SegmentWriter, read_frames

Plane = NDArray[np.uint8]
BITS = 8


def numbered_picture(number: int, width: int, height: int) -> Plane:
    """BGR: a slope of colour that moves, and over it the number as dark and bright fields along the top."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = [
        (x * 3 + y + 5 * number) % 200 + 20,
        (x + y * 2 + 3 * number) % 180 + 30,
        60 + 100 * y // height + x * 0,
    ]
    picture = cv2.GaussianBlur(np.stack(channels, axis=2).astype(np.uint8), (0, 0), 3)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit, (left, right) in enumerate(zip(edges, edges[1:], strict=False)):
        picture[: height // 3, left:right] = 220 if number >> bit & 1 else 35
    return np.asarray(picture, np.uint8)


def number_of(luma: Plane) -> int:
    """Which picture that is."""
    height, width = luma.shape
    edges = np.linspace(0, width, BITS + 1).astype(int)
    fields = [luma[height // 12 : height // 4, a + 2 : b - 2].mean() for a, b in zip(edges, edges[1:], strict=False)]
    return sum(1 << bit for bit, mean in enumerate(fields) if mean > 128)


def make_film(
    path: Path,
    *,
    frames: int = 24,
    size: tuple[int, int] = (160, 96),
    format: str | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    rate: Fraction = Fraction(25),
    rotation: int = 0,
    audio: Sequence[str] = (),
    colour: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Writes a film; `pts` None means even steps. `colour` is range, primaries, transfer, matrix."""
    pts = [round(n / rate / time_base) for n in range(frames)] if pts is None else pts
    with av.open(str(path), "w", format=format) as output:
        default = {"preset": "ultrafast", "crf": "10", "bf": "3", "g": "10", "b-pyramid": "normal"}
        default = default if codec == "libx264" else {}
        video: Any = output.add_stream(codec, rate=rate, options=default | (options or {}))
        context = video.codec_context
        context.width, context.height, context.pix_fmt = *size, pixel_format
        context.time_base = video.time_base = time_base
        if colour:
            context.color_range, context.color_primaries, context.color_trc, context.colorspace = colour
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation:
            video.set_display_rotation(rotation)
        sounds: list[Any] = [_add_sound(output, name) for name in audio]
        for number, at in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, *size), format="bgr24")
            full = pixel_format.startswith("yuvj") or bool(colour and colour[0] == 2)
            frame = frame.reformat(format=pixel_format, dst_color_range=2 if full else 1)
            frame.pts, frame.time_base = at, time_base
            output.mux(video.encode(frame))
        end_s = float(pts[-1] * time_base + 1 / rate)
        for track, sound in enumerate(sounds):
            _write_sound(output, sound, end_s, 220.0 * (track + 1))
        output.mux(video.encode(None))
        for sound in sounds:
            output.mux(sound.encode(None))
    return path


def _add_sound(output: Any, codec: str) -> Any:
    sound = output.add_stream(codec, rate=48_000)
    sound.codec_context.layout = "stereo"
    return sound


def _write_sound(output: Any, sound: Any, seconds: float, hertz: float) -> None:
    size = sound.codec_context.frame_size or 1024
    kind = sound.codec_context.format.name
    for first in range(0, int(seconds * 48_000), size):
        wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(first, first + size) / 48_000)
        frame = av.AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (2, 1)), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
        for piece in av.AudioResampler(format=kind, layout="stereo", rate=48_000).resample(frame):
            piece.pts, piece.time_base = first, Fraction(1, 48_000)
            output.mux(sound.encode(piece))


def write_segments(
    film: Path, info: FilmInfo, plan: Sequence[SegmentSpan], folder: Path, coding: FilmCoding | None = None
) -> list[Path]:
    """Codes each span anew, unchanged."""
    coding = coding or FilmCoding()
    paths = []
    for number, span in enumerate(plan):
        path = folder / f"{number}.nut"
        with SegmentWriter(path, info, coding) as writer:
            size = info.output_size(coding.height_px)
            for frame in read_frames(film, info, span.start_pts, span.end_pts, size=size):
                writer.write(frame)
        paths.append(path)
    return paths


def lumas(film: Path) -> list[Plane]:
    """Brightness of every picture as it is stored (8-bit planar films), read by FFmpeg alone."""
    with av.open(str(film)) as source:
        frames: Any = source.decode(video=0)
        return [_luma(frame).copy() for frame in frames]


def _luma(frame: Any) -> Plane:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


def samples(film: Path, track: int = 0) -> NDArray[np.float32]:
    """All of a track's sound, (n,), at 48 kHz."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000)
    with av.open(str(film)) as source:
        frames: list[Any] = [*source.decode(audio=track), None]
        return np.concatenate([piece.to_ndarray()[0] for frame in frames for piece in resampler.resample(frame)])


def psnr_db(a: Plane, b: Plane) -> float:
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))

"""The original's sound in the new film: its packets copied, or transcoded where the container cannot hold them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

from services.common.film.probe import FilmInfo
from services.common.film.source import damage_reported, open_source

_HELD: Final = {
    "mp4": frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "flac", "alac"}),
    "webm": frozenset({"opus", "vorbis"}),
}
_ENCODERS: Final = {"mp4": "aac", "webm": "libopus"}
MAX_DRIFT_S: Final = 0.04
Cut = tuple[Fraction, Fraction]  # first and last second of what is kept, in the original's time


class AudioCopy:
    """One stream of sound on its way from the original to the result."""

    def __init__(self, source: Any, stream: Any, output: Any, format: str) -> None:
        self._source, self._stream = source, stream
        self._copied = stream.codec_context.name in _HELD[format]
        if self._copied:
            self._target = output.add_stream_from_template(stream)
        else:
            rate_hz = 48_000 if format == "webm" else stream.codec_context.sample_rate
            self._target = output.add_stream(_ENCODERS[format], rate=min(rate_hz, 48_000))
            self._target.codec_context.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        if stream.language:
            self._target.metadata["language"] = stream.language

    def packets(self, cut: Cut | None, shift_s: Fraction) -> Iterator[tuple[float, Any]]:
        """Packets for the result, each with the second at which it is needed.

        Args:
            cut: None keeps all. Copied sound is cut between packets: at either end it may be off by half of one.
            shift_s: this much earlier in the result.
        """
        return self._copy(cut, shift_s) if self._copied else self._transcode(cut, shift_s)

    def _copy(self, cut: Cut | None, shift_s: Fraction) -> Iterator[tuple[float, Any]]:
        base = Fraction(self._stream.time_base)
        shift = round(shift_s / base)
        for packet in self._source.demux(self._stream):
            if not packet.size or packet.pts is None:
                continue
            middle_s = (packet.pts + Fraction(packet.duration or 0, 2)) * base
            if cut is not None and middle_s >= cut[1]:
                return
            if cut is not None and middle_s < cut[0]:
                continue
            packet.pts -= shift
            packet.dts = packet.pts
            packet.stream = self._target
            yield float(packet.pts * base), packet

    def _transcode(self, cut: Cut | None, shift_s: Fraction) -> Iterator[tuple[float, Any]]:
        context = self._target.codec_context
        rate_hz = context.sample_rate
        resampler = av.AudioResampler(format=context.format, layout=context.layout, rate=rate_hz)
        unit = Fraction(1, rate_hz)
        next_at: int | None = None  # in samples of the result
        for frame in self._source.decode(self._stream):
            at_s = frame.pts * Fraction(frame.time_base)
            middle_s = at_s + Fraction(frame.samples, 2 * frame.sample_rate)
            if cut is not None and middle_s >= cut[1]:
                break
            if cut is not None and middle_s < cut[0]:
                continue
            at = round((at_s - shift_s) / unit)
            if next_at is None or abs(at - next_at) > MAX_DRIFT_S * rate_hz:  # a pause, not a rounded time stamp
                next_at = at
            frame.pts = None
            for piece in resampler.resample(frame):
                piece.pts, piece.time_base = next_at, unit
                next_at += piece.samples
                yield from self._timed(self._target.encode(piece), unit)
        for piece in resampler.resample(None):
            piece.pts, piece.time_base = next_at, unit
            yield from self._timed(self._target.encode(piece), unit)
        yield from self._timed(self._target.encode(None), unit)

    def _timed(self, packets: list[Any], fallback: Fraction) -> Iterator[tuple[float, Any]]:
        for packet in packets:
            yield float((packet.dts or 0) * Fraction(packet.time_base or fallback)), packet


@contextmanager
def open_audio(original: Path, info: FilmInfo, output: Any, format: str) -> Iterator[list[AudioCopy]]:
    """All tracks of the film's sound, each reading the original on its own, so that they can be taken in any order."""
    with damage_reported(info.container, "film"), ExitStack() as stack:
        copies = []
        for track in info.audio:
            source = stack.enter_context(open_source(original, info.container))
            copies.append(AudioCopy(source, source.streams.audio[track.index], output, format))
        yield copies

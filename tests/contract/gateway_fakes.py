"""Four small stages for the gateway's tests: real gRPC servers on the project's bootstrap, simple signals inside.

A voice is its pitch: the encoder's embedding is a bump at the log-frequency of the strongest partial, the synthesizer
writes frames with the speaker's pitch, the vocoder plays them as a sine. So similarity can be reasoned about, and
the formant warp too: the fake synthesizer detunes by |warp - BEST_WARP|.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from likeness.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    faceswap_pb2,
    faceswap_pb2_grpc,
    synthesizer_pb2,
    synthesizer_pb2_grpc,
    types_pb2,
    vocoder_pb2,
    vocoder_pb2_grpc,
)
from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ, FloatArray
from services.common.errors import LikenessError
from services.common.grants import granted_mark, require_template, voice_template
from services.common.keys import MARK, load_secret, make_keys
from services.common.marking.audio_marker import AudioMarker
from services.common.markup import read_script
from services.common.script import Rest, Script, Words
from services.common.server import StageServer
from services.common.settings import StageSettings
from services.common.sounds import CLASSES_NAME, SHAPE_SIZE, SOUND_COUNT
from services.common.wire import frames_from_wire, frames_to_wire, gradient_to_wire, samples_from_s16, samples_to_s16
from services.vocoder.servicer import Unmarked
from tests.contract.gateway_fake_faces import FaceDoings, FakeFaceSwap, portrait
from tests.databases import database_url
from tests.waiting import wait_for

__all__ = [
    "BEST_WARP",
    "BREAK_WORD",
    "HOLD_WORD",
    "FakeStages",
    "ended_job",
    "pitch_embedding",
    "portrait",
    "sine",
    "spoken_seconds",
]
BEST_WARP = 1.08
FRAMES_PER_CHARACTER = 5
BREAK_WORD = "calamity"  # the synthesizer fails when it comes to this word
HOLD_WORD = "intermission"  # the synthesizer waits here until it is told to go on


def pitch_embedding(frequency_hz: float) -> FloatArray:
    """A bump of width a tenth of an octave on a log-frequency axis of 256 points, 50 to 800 Hz; length 1."""
    axis = np.linspace(np.log2(50.0), np.log2(800.0), 256)
    bump = np.exp(-0.5 * ((axis - np.log2(max(frequency_hz, 1.0))) / 0.1) ** 2) + 1e-3
    return np.asarray(bump / np.linalg.norm(bump), np.float32)


def strongest_hz(samples: FloatArray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / samples.size)


def sine(frequency_hz: float, seconds: float, level: float = 0.5) -> FloatArray:
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.asarray(level * np.sin(2 * np.pi * frequency_hz * t), np.float32)


@dataclass
class Doings(FaceDoings):
    """What the stages saw, and the levers by which tests disturb them."""

    go_on: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    speakers: list[types_pb2.SpeakerProfile] = field(default_factory=list)
    speeches: list[synthesizer_pb2.SynthesizeMelRequest] = field(default_factory=list)
    two_speak: bool = False  # set: every recording sounds to the encoder as if two people spoke


class FakeEncoder(encoder_pb2_grpc.EncoderServiceServicer):
    def __init__(self, doings: Doings) -> None:
        self._doings = doings

    def load(self) -> None:
        return None

    def EmbedSpeech(self, request_iterator: Iterator[Any], context: Any) -> encoder_pb2.EmbedSpeechResponse:
        parts = list(request_iterator)
        samples = samples_from_s16(b"".join(part.samples_s16 for part in parts if part.WhichOneof("part") != "options"))
        loud = samples[np.abs(samples) > 1e-3]
        if loud.size < SAMPLE_RATE_HZ * 0.9:
            seconds = loud.size / SAMPLE_RATE_HZ
            raise LikenessError("SPEECH_TOO_SHORT", f"{seconds:.2f} s of speech; 1 s is needed.")
        frequency_hz = strongest_hz(samples)
        profile = types_pb2.SpeakerProfile(
            embedding=pitch_embedding(frequency_hz).tolist(),
            log_f0_median=float(np.log(frequency_hz)),
            log_f0_spread=0.1,
            mel_mean=[-5.0] * MEL_BINS,
            mel_spread=[1.0] * MEL_BINS,
            sounds=types_pb2.SpokenSounds(
                classes=CLASSES_NAME,
                frames=[10.0] * SOUND_COUNT,
                shapes=[0.0] * (SOUND_COUNT * SHAPE_SIZE),
                formant_scale=1.0,
            ),
        )
        quality = encoder_pb2.ReferenceQuality(
            total_seconds=samples.size / SAMPLE_RATE_HZ,
            speech_seconds=loud.size / SAMPLE_RATE_HZ,
            snr_db=40.0,
            multiple_speakers=self._doings.two_speak,
        )
        return encoder_pb2.EmbedSpeechResponse(profile=profile, quality=quality)

    def GuideSpeech(self, request: Any, context: Any) -> encoder_pb2.GuideSpeechResponse:
        """It hears pitch alone: no change of the bands makes speech more like anybody."""
        samples = samples_from_s16(request.samples_s16)
        target = np.asarray(request.target, np.float32)
        require_template(voice_template(target), field="target")
        gradient = np.zeros((-(-samples.size // HOP_SAMPLES), MEL_BINS), np.float32)
        similarity = float(pitch_embedding(strongest_hz(samples)) @ target)
        return encoder_pb2.GuideSpeechResponse(similarity=similarity, gradient_f32=gradient_to_wire(gradient))


class FakeSynthesizer(synthesizer_pb2_grpc.SynthesizerServiceServicer):
    def __init__(self, doings: Doings) -> None:
        self._doings = doings

    def load(self) -> None:
        return None

    def SynthesizeMel(self, request: Any, context: Any) -> Iterator[synthesizer_pb2.SynthesizeMelResponse]:
        script = read_script(request.text)
        if not any(character.isalnum() for character in script.spoken_text):
            raise LikenessError("TEXT_UNPRONOUNCEABLE", "There is nothing to speak.", field="text")
        self._doings.speakers.append(request.speaker)
        self._doings.speeches.append(request)
        context.add_callback(lambda: None if context.code() is None else self._doings.cancelled.set())
        voice = request.speaker.adaptation if request.speaker.HasField("adaptation") else request.speaker
        detuning = abs((voice.formant_warp or 1.0) - BEST_WARP)
        log_f0 = voice.log_f0_median + detuning + request.pitch_shift_semitones * np.log(2) / 12
        spoken_s = 0.0
        for word in words_and_rests(script):
            if isinstance(word, float):
                spoken_s += word
                frames = steady_frames(round(word * FRAMES_PER_SECOND), log_f0)
                yield synthesizer_pb2.SynthesizeMelResponse(frames=frames, sentence_count=1)
                continue
            if word.strip(".,") == BREAK_WORD:
                raise LikenessError("INTERNAL", "The synthesizer met a calamity.")
            if word.strip(".,") == HOLD_WORD:
                while not self._doings.go_on.wait(0.02):
                    if not context.is_active():
                        self._doings.cancelled.set()
                        return
            count = max(1, round(len(word) * FRAMES_PER_CHARACTER / (request.speed or 1.0)))
            timing = synthesizer_pb2.WordTiming(
                word=word.strip(".,"),
                punctuated_word=word,
                start_seconds=spoken_s,
                end_seconds=spoken_s + count / FRAMES_PER_SECOND,
            )
            spoken_s += count / FRAMES_PER_SECOND
            frames = steady_frames(count, log_f0)
            yield synthesizer_pb2.SynthesizeMelResponse(frames=frames, words=[timing], sentence_count=1)


def steady_frames(count: int, log_f0: float) -> types_pb2.AcousticFrames:
    frames = np.full((count, FRAME_CHANNELS), -5.0, np.float32)
    frames[:, MEL_BINS] = log_f0
    frames[:, MEL_BINS + 1] = 1.0
    return frames_to_wire(frames)


def words_and_rests(script: Script) -> Iterator[str | float]:
    """Words as written between spaces, and the seconds of rests (which the fakes fill with sound, too)."""
    for sentence in script.sentences:
        for part in sentence.parts:
            if isinstance(part, Rest):
                yield part.seconds
            else:
                yield from (part.text if isinstance(part, Words) else part.value).split()


class FakeVocoder(vocoder_pb2_grpc.VocoderServiceServicer):
    """Marks what it makes, as every vocoder must, unless a test takes its key away."""

    def __init__(self, settings: StageSettings, doings: Doings) -> None:
        self._key = load_secret(settings.resolved_keys_dir / MARK)
        self._doings = doings

    def load(self) -> None:
        return None

    def _marker(self) -> AudioMarker | Unmarked:
        number = granted_mark()
        return AudioMarker(self._key, number) if number and not self._doings.unmarked else Unmarked()

    def SynthesizeWaveform(
        self, request_iterator: Iterator[Any], context: Any
    ) -> Iterator[vocoder_pb2.SynthesizeWaveformResponse]:
        engine, phase, marker = "draft", 0.0, self._marker()
        answer = partial(vocoder_pb2.SynthesizeWaveformResponse, sample_rate_hz=SAMPLE_RATE_HZ)
        for request in request_iterator:
            if request.WhichOneof("part") == "options":
                engine = request.options.engine or engine
                continue
            frames = frames_from_wire(request.frames)
            step = 2 * np.pi * np.repeat(np.exp(frames[:, MEL_BINS]), HOP_SAMPLES) / SAMPLE_RATE_HZ
            phases = phase + np.cumsum(step)
            phase = float(phases[-1])
            yield answer(samples_s16=samples_to_s16(marker.write(chord(phases))), engine=engine)
        yield answer(samples_s16=samples_to_s16(marker.finish()), engine=engine)


def chord(phases: Any) -> FloatArray:
    """A tone whose strongest partial is the first, with enough steady ones beside it to be marked."""
    others = sum(np.sin(0.37 * number * phases + number**2) for number in range(2, 100))
    return np.asarray(0.25 * np.sin(phases) + 0.015 * others, np.float32)


class FakeStages:
    """All four, on free ports; stages can be stopped one by one."""

    def __init__(self, data_dir: Path, *, store: dict[str, Any] | None = None, **synthesizer_settings: Any) -> None:
        common: dict[str, Any] = {"data_dir": data_dir, "drain_wait_s": 0.0, "drain_grace_s": 0.2, "log_level": "error"}
        common |= store or {}
        make_keys(data_dir / "keys")
        settings = StageSettings(**{"max_concurrency": 8, **common})
        narrow = StageSettings(**{"max_concurrency": 8, **common, **synthesizer_settings})
        self.data_dir = data_dir
        self.doings = Doings()
        self.servers = {
            "encoder": self._start(settings, "Encoder", FakeEncoder(self.doings), encoder_pb2, encoder_pb2_grpc),
            "synthesizer": self._start(
                narrow, "Synthesizer", FakeSynthesizer(self.doings), synthesizer_pb2, synthesizer_pb2_grpc
            ),
            "vocoder": self._start(
                settings, "Vocoder", FakeVocoder(settings, self.doings), vocoder_pb2, vocoder_pb2_grpc
            ),
            "faceswap": self._start(
                settings, "FaceSwap", FakeFaceSwap(self.doings, settings), faceswap_pb2, faceswap_pb2_grpc
            ),
        }

    @staticmethod
    def _start(settings: StageSettings, name: str, servicer: Any, messages: Any, services: Any) -> StageServer:
        server = StageServer(
            settings,
            service_name=f"{name}Service",
            servicer=servicer,
            add_to_server=getattr(services, f"add_{name}ServiceServicer_to_server"),
            descriptor=messages.DESCRIPTOR,
        )
        return server.start()

    def targets(self, data_dir: Path | None = None) -> dict[str, Any]:
        """Settings of a gateway that is to use these stages and the database of that folder."""
        targets = {f"{name}_target": f"127.0.0.1:{server.port}" for name, server in self.servers.items()}
        keys = {"keys_dir": self.data_dir / "keys"}  # whose grants the stages take
        return {**targets, **keys, "database_url": database_url(data_dir or self.data_dir)}

    def stop(self, name: str) -> None:
        self.servers.pop(name).drain()

    def restart_vocoder(self, port: int) -> None:
        settings = StageSettings(port=port, data_dir=self.data_dir, drain_wait_s=0.0, log_level="error")
        self.servers["vocoder"] = self._start(
            settings, "Vocoder", FakeVocoder(settings, self.doings), vocoder_pb2, vocoder_pb2_grpc
        )

    def close(self) -> None:
        self.doings.go_on.set()
        threads = [threading.Thread(target=server.drain) for server in self.servers.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def spoken_seconds(text: str, speed: float = 1.0) -> float:
    """How long the fakes speak a text."""
    frames = sum(max(1, round(len(word) * FRAMES_PER_CHARACTER / speed)) for word in text.split())
    return frames / FRAMES_PER_SECOND


def ended_job(client: Any, job_id: str) -> dict[str, Any]:
    """A job as a Flask client sees it once it has ended."""

    def look() -> Any:
        job = client.get(f"/v1/jobs/{job_id}").get_json()
        return job if job["status"] not in ("queued", "processing") else None

    return dict(wait_for(look))

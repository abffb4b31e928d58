"""The demonstration's steps: a fresh stack, then only what any caller could do over HTTP."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from likeness._client import Client
from likeness._demo.chart import draw_speech
from likeness._demo.film import make_film, some_frames
from likeness._demo.pictures import ASTRONAUT, GUEST, DemoPicture, side_by_side
from likeness._stack import LOOPBACK, ProcessMemory, Stack, StackEvent, free_ports, local_servers
from likeness._swaps import SwapJob
from likeness._types import Speech, Swap, Voice
from services.common.audio import FloatArray
from services.common.decode import decode_audio, decode_picture
from services.common.settings import REPOSITORY_ROOT

PERSONA: Final = REPOSITORY_ROOT / "examples" / "persona" / "persona.flac"
SENTENCE: Final = "Nobody has ever said these words. A program learned my voice from ten seconds of sound."
FILM_TIMEOUT_S: Final = 300.0
START_TIMEOUT_S: Final = 600.0  # the first start on a machine compiles the numba kernels
SOURCE: Final[DemoPicture] = GUEST
TARGET: Final[DemoPicture] = ASTRONAUT
FILM_TARGET: Final = replace(ASTRONAUT, part=(86, 0, 280, 280))  # left, top, width, height: head and shoulders


@dataclass
class DemoOutput:
    """What the demonstration made and measured."""

    folder: Path
    voice: Voice
    speech: Speech
    swap: Swap
    film: SwapJob
    samples: FloatArray  # (n,), 16 kHz
    memory: list[ProcessMemory]
    timings_s: dict[str, float] = field(default_factory=dict)


def run_demo(folder: Path, *, on_step: Callable[[str], None], on_event: Callable[[StackEvent], None]) -> DemoOutput:
    """Runs it all and writes speech.wav, speech.png, swap.png, swap_compared.png (source, target, result), film.mp4 and
    film_compared.png (moments of it, before and after).

    The stack is one of its own, with an empty data folder and free ports, so that it disturbs none that runs; its logs
    are kept in `folder`/logs.

    Args:
        on_step: told what is done next.
        on_event: told what happens to the servers.

    Raises:
        StackError, LikenessClientError, LikenessError: whatever stopped it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    timings_s: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="likeness-demo-") as data, timed(timings_s, "total"):
        (http_port,) = free_ports(1)
        servers = local_servers(Path(data), http_port=http_port, prefer_default_ports=False)
        stack = Stack(servers, Path(data) / "logs", on_event=on_event)
        try:
            on_step("Starting four stages and the gateway")
            with timed(timings_s, "stack_start"):
                stack.start(START_TIMEOUT_S)
            memory = stack.memory()
            with Client(f"http://{LOOPBACK}:{http_port}") as client:
                output = _walk(client, folder, memory, timings_s, on_step)
        finally:
            on_step("Stopping")
            stack.stop()
            shutil.copytree(Path(data) / "logs", folder / "logs", dirs_exist_ok=True)
    return output


def _walk(
    client: Client,
    folder: Path,
    memory: list[ProcessMemory],
    timings_s: dict[str, float],
    on_step: Callable[[str], None],
) -> DemoOutput:
    on_step("Recording the consent and enrolling the persona's voice")
    consent = client.voice_consents.create(
        who="Juniper",
        kind="synthetic",
        evidence="No real person: flite's speech, changed in pitch and formants by examples/persona/make.py.",
    )
    with timed(timings_s, "enrolment"):
        voice = client.voices.enrol("juniper", PERSONA, consent=consent.id)

    on_step("Speaking")
    with timed(timings_s, "speech"):
        speech = client.speak(SENTENCE, voice=voice.id, seed=1)
    (folder / "speech.wav").write_bytes(speech.audio)
    samples = decode_audio(speech.audio).samples
    draw_speech(samples, f"“{SENTENCE}”", folder / "speech.png")

    on_step("Swapping a face")
    face_consent = client.face_consents.create(
        who=f"{SOURCE.name}",
        kind="attested",
        attested_by="likeness demo",
        evidence=f"{SOURCE.origin}; used on this machine only, to show what the software does.",
    )
    face = client.faces.enrol(SOURCE.content(), consent=face_consent.id)
    with timed(timings_s, "swap"):
        swap = client.swap(face=face.id, target=TARGET.content())
    (folder / "swap.png").write_bytes(swap.picture)
    compared = [SOURCE.pixels(), TARGET.pixels(), decode_picture(swap.picture)]
    (folder / "swap_compared.png").write_bytes(side_by_side(compared))

    on_step("Swapping the face in a film")
    film_path = folder / "film.mp4"
    with tempfile.TemporaryDirectory(prefix="likeness-film-") as scratch:
        original = Path(scratch) / "target.mp4"
        make_film(FILM_TARGET, original)
        with timed(timings_s, "film"):
            film = client.swaps.create(face=face.id, target=original).wait(FILM_TIMEOUT_S)
        film.save(film_path)
        moments = [np.vstack(pair) for pair in zip(some_frames(original, 4), some_frames(film_path, 4), strict=True)]
    (folder / "film_compared.png").write_bytes(side_by_side(moments))
    return DemoOutput(folder, voice, speech, swap, film, np.asarray(samples, np.float32), memory, timings_s)


@contextmanager
def timed(timings_s: dict[str, float], name: str) -> Iterator[None]:
    started_at = time.perf_counter()
    try:
        yield
    finally:
        timings_s[name] = round(time.perf_counter() - started_at, 3)

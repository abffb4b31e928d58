"""The four stages as the gateway calls them: channels made on first use (after the fork), deadlines, errors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from likeness.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    faceswap_pb2,
    faceswap_pb2_grpc,
    synthesizer_pb2,
    synthesizer_pb2_grpc,
    vocoder_pb2,
    vocoder_pb2_grpc,
)
from services.common.audio import FloatArray
from services.common.client import call_metadata, open_channel, raise_from_rpc
from services.common.errors import LikenessError
from services.common.grants import METADATA_KEY, Grant, GrantSigner
from services.common.tls import TlsFiles, TlsFolder
from services.common.tracing import traceparent_var
from services.common.wire import chunked, gradient_from_wire, samples_to_s16
from services.gateway.auditing import note_grant
from services.gateway.halting import Halt
from services.gateway.settings import GatewaySettings

StageName = Literal["encoder", "synthesizer", "vocoder", "faceswap"]
SENDING_S: Final = 0.01  # for samples to leave; where they take longer, the encoder is busy with others
SERVICE_NAMES: Final[dict[StageName, str]] = {
    "encoder": "likeness.v1.EncoderService",
    "synthesizer": "likeness.v1.SynthesizerService",
    "vocoder": "likeness.v1.VocoderService",
    "faceswap": "likeness.v1.FaceSwapService",
}


@dataclass(frozen=True)
class Call:
    """On whose behalf stages are called, and until when (on the monotonic clock); `trace` is a W3C traceparent.

    Stages refuse calls without a grant; each call signs its own, which is valid for a minute.
    """

    request_id: str
    expires_at: float
    trace: str = field(default_factory=traceparent_var.get)
    grant: Grant | None = None

    @classmethod
    def within(cls, seconds: float, request_id: str, grant: Grant) -> Call:
        return cls(request_id, time.monotonic() + seconds, grant=grant)

    def granting(self, grant: Grant) -> Call:
        return replace(self, grant=grant)

    def remaining_s(self) -> float:
        """Raises LikenessError DEADLINE_EXCEEDED when nothing remains."""
        remaining = self.expires_at - time.monotonic()
        if remaining <= 0:
            raise LikenessError("DEADLINE_EXCEEDED", "The time allowed for this request has passed.")
        return remaining


def until(expires_at: float, deadline_at: datetime | None) -> float:
    """The earlier of a time on the monotonic clock and a date, on that clock."""
    if deadline_at is None:
        return expires_at
    return min(expires_at, time.monotonic() + (deadline_at - datetime.now(UTC)).total_seconds())


class Stages:
    """Channels and stubs of the four stages. Raises TlsError when the files of tls_dir cannot be used."""

    def __init__(self, settings: GatewaySettings, signer: GrantSigner | None = None) -> None:
        self._signer = signer
        self._tls = None if settings.tls_dir is None else TlsFolder(settings.tls_dir)
        self.targets: dict[StageName, str] = {
            "encoder": settings.encoder_target,
            "synthesizer": settings.synthesizer_target,
            "vocoder": settings.vocoder_target,
            "faceswap": settings.faceswap_target,
        }
        self._channels: dict[StageName, tuple[grpc.Channel, TlsFiles | None]] = {}
        self._process = os.getpid()
        self._lock = threading.Lock()

    def channel(self, stage: StageName) -> grpc.Channel:
        """The stage's channel, opened on first use, and anew in a forked process: channels do not survive a fork.

        Renewed certificates are for new channels. The old one is let go, not closed: it lasts as long as its calls.
        """
        with self._lock:
            if self._process != os.getpid():
                self._channels, self._process = {}, os.getpid()
            tls = None if self._tls is None else self._tls.current()
            if stage not in self._channels or self._channels[stage][1] is not tls:
                self._channels[stage] = open_channel(self.targets[stage], tls), tls
            return self._channels[stage][0]

    def close(self) -> None:
        with self._lock:
            for channel, _ in self._channels.values():
                channel.close()
            self._channels = {}

    @contextmanager
    def told(self, stage: StageName) -> Iterator[None]:
        """Turns the RpcError of a stage into a LikenessError that names the stage when it cannot be reached."""
        try:
            yield
        except grpc.RpcError as error:
            self.raise_from(stage, error)

    def raise_from(self, stage: StageName, error: grpc.RpcError) -> NoReturn:
        raise self.error_of(stage, error) from error

    def error_of(self, stage: StageName, error: grpc.RpcError) -> LikenessError:
        """What the stage said, or that it cannot be reached."""
        try:
            raise_from_rpc(error, stage=stage)
        except LikenessError as told:
            if told.reason in ("GRANT_REQUIRED", "GRANT_INVALID", "GRANT_MISMATCH"):
                detail = (
                    f"The {stage} at {self.targets[stage]} refuses this gateway: {told.detail} Its keys folder must "
                    "hold the gateway's public key, and both clocks must agree."
                )
                return LikenessError("GRANT_REFUSED", detail)
            if told.reason != "STAGE_UNAVAILABLE":
                return told
            return LikenessError(
                "STAGE_UNAVAILABLE",
                f"The {stage} at {self.targets[stage]} cannot be reached. Try again in a moment; if it stays away, see "
                "its log.",
                retry_after_s=told.retry_after_s or 1.0,
            )

    def embed(
        self, samples: FloatArray, call: Call, *, label: str, embedding_only: bool = False, surely_speech: bool = False
    ) -> encoder_pb2.EmbedSpeechResponse:
        """Who speaks in mono 16 kHz samples (n,); see `EmbedSpeechOptions`."""
        waiting = self.begin_to_embed(
            samples, call, label=label, embedding_only=embedding_only, surely_speech=surely_speech
        )
        return waiting()

    def begin_to_embed(
        self, samples: FloatArray, call: Call, *, label: str, embedding_only: bool = False, surely_speech: bool = False
    ) -> Callable[[], encoder_pb2.EmbedSpeechResponse]:
        """The same beside what the caller does next: what this returns waits for the answer, and returns or raises.

        Lets the samples go out first: the caller's computing would keep them from it.
        """
        sent = threading.Event()

        def requests() -> Iterator[encoder_pb2.EmbedSpeechRequest]:
            options = encoder_pb2.EmbedSpeechOptions(
                embedding_only=embedding_only, surely_speech=surely_speech, label=label
            )
            yield encoder_pb2.EmbedSpeechRequest(options=options)
            for piece in chunked(samples_to_s16(samples)):
                yield encoder_pb2.EmbedSpeechRequest(samples_s16=piece)
            sent.set()

        stub = encoder_pb2_grpc.EncoderServiceStub(self.channel("encoder"))  # type: ignore[no-untyped-call]
        running = stub.EmbedSpeech.future(requests(), **self._options(call))
        sent.wait(SENDING_S)

        def wait() -> encoder_pb2.EmbedSpeechResponse:
            with self.told("encoder"):
                response: encoder_pb2.EmbedSpeechResponse = running.result()
            return response

        return wait

    def guide(self, samples: FloatArray, target: FloatArray, call: Call) -> tuple[float, FloatArray]:
        """How like a speaker with the embedding `target` (256,) synthesized samples (n,) at 16 kHz are, and by how much
        that grows per neper in each band of each acoustic frame, shape (T, 80)."""
        stub = encoder_pb2_grpc.EncoderServiceStub(self.channel("encoder"))  # type: ignore[no-untyped-call]
        request = encoder_pb2.GuideSpeechRequest(target=target.tolist(), samples_s16=samples_to_s16(samples))
        with self.told("encoder"):
            response: encoder_pb2.GuideSpeechResponse = stub.GuideSpeech(request, **self._options(call))
        return response.similarity, gradient_from_wire(response.gradient_f32)

    def synthesize(self, request: synthesizer_pb2.SynthesizeMelRequest, call: Call) -> Any:
        """The running call: iterate it for responses, or cancel it. Its RpcErrors are the caller's to turn."""
        stub = synthesizer_pb2_grpc.SynthesizerServiceStub(self.channel("synthesizer"))  # type: ignore[no-untyped-call]
        return stub.SynthesizeMel(request, **self._options(call))

    def vocode(self, requests: Iterator[vocoder_pb2.SynthesizeWaveformRequest], call: Call) -> Any:
        """The running call, like `synthesize`. The requests are read by gRPC's own thread."""
        stub = vocoder_pb2_grpc.VocoderServiceStub(self.channel("vocoder"))  # type: ignore[no-untyped-call]
        return stub.SynthesizeWaveform(requests, **self._options(call))

    def detect_faces(self, request: faceswap_pb2.DetectFacesRequest, call: Call) -> faceswap_pb2.DetectFacesResponse:
        stub = faceswap_pb2_grpc.FaceSwapServiceStub(self.channel("faceswap"))  # type: ignore[no-untyped-call]
        with self.told("faceswap"):
            response: faceswap_pb2.DetectFacesResponse = stub.DetectFaces(request, **self._options(call))
        return response

    def swap_picture(
        self, request: faceswap_pb2.SwapPictureRequest, call: Call, halt: Halt
    ) -> faceswap_pb2.SwapPictureResponse:
        """Cancelled when the work is stopped."""
        stub = faceswap_pb2_grpc.FaceSwapServiceStub(self.channel("faceswap"))  # type: ignore[no-untyped-call]
        with self.told("faceswap"):
            running = stub.SwapPicture.future(request, **self._options(call))
            try:
                with halt.cancelling(running):
                    response: faceswap_pb2.SwapPictureResponse = running.result()
            except grpc.FutureCancelledError:
                halt.check()
                raise LikenessError("CANCELLED", "The swap was cancelled.") from None
        return response

    def swap_segment(self, request: faceswap_pb2.SwapSegmentRequest, call: Call) -> Any:
        """The running call, like `synthesize`."""
        stub = faceswap_pb2_grpc.FaceSwapServiceStub(self.channel("faceswap"))  # type: ignore[no-untyped-call]
        return stub.SwapSegment(request, **self._options(call))

    def swap_live(self, requests: Iterator[faceswap_pb2.SwapLiveRequest], call: Call) -> Any:
        """The running call, like `vocode`."""
        stub = faceswap_pb2_grpc.FaceSwapServiceStub(self.channel("faceswap"))  # type: ignore[no-untyped-call]
        return stub.SwapLive(requests, **self._options(call))

    def _options(self, call: Call) -> dict[str, Any]:
        metadata = call_metadata(call.request_id, call.trace)
        if call.grant is not None and self._signer is not None:
            metadata += ((METADATA_KEY, self._signer.sign(call.grant)),)
            note_grant(call.grant)
        return {"timeout": call.remaining_s(), "metadata": metadata}

    def check(self, stage: StageName, deadline_s: float) -> str | None:
        """None when the stage serves with its model loaded, else what is wrong."""
        stub = health_pb2_grpc.HealthStub(self.channel(stage))
        request = health_pb2.HealthCheckRequest(service=SERVICE_NAMES[stage])
        try:
            response = stub.Check(request, timeout=deadline_s)
        except grpc.RpcError as error:
            return f"{self.targets[stage]}: {error.code().name}: {error.details()}"
        status = response.status
        if status == health_pb2.HealthCheckResponse.SERVING:
            return None
        return f"{self.targets[stage]}: {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}"


@contextmanager
def fields_called(names: Mapping[str, str]) -> Iterator[None]:
    """Renames the field of a failure from the stage's name of it, or of what it is part of, to the HTTP request's.

    The entry "" names the field of invalid arguments for which the stage names none.
    """
    try:
        yield
    except LikenessError as error:
        field = error.field or ""
        name = names.get(field) if field or error.row.code is grpc.StatusCode.INVALID_ARGUMENT else None
        while name is None and "." in field:
            field = field.rpartition(".")[0]
            name = names.get(field)
        if name is None:
            raise
        raise LikenessError(error.reason, error.detail, field=name, retry_after_s=error.retry_after_s) from error

"""Files of adaptations for the voices that `FakeStages` speak with."""

from __future__ import annotations

import numpy as np

from services.common.adaptation import VoiceAdaptation
from services.common.adaptation_file import AdaptationFile, adaptation_bytes
from services.common.audio import MEL_BINS
from services.common.sounds import SHAPE_SIZE, SOUND_COUNT
from tests.contract.gateway_fakes import BEST_WARP, pitch_embedding

ADA_HZ = 200.0


def adaptation(hz: float = ADA_HZ, warp: float = BEST_WARP) -> VoiceAdaptation:
    return VoiceAdaptation(
        network="net-1",
        log_f0_median=float(np.log(hz)),
        log_f0_spread=0.1,
        mel_mean=np.full(MEL_BINS, -5.0, np.float32),
        mel_spread=np.ones(MEL_BINS, np.float32),
        formant_warp=warp,
        offsets=np.full((SOUND_COUNT, SHAPE_SIZE), 0.25, np.float32),
    )


def file_of(learned: VoiceAdaptation, embedding_hz: float = ADA_HZ) -> bytes:
    return adaptation_bytes(AdaptationFile(pitch_embedding(embedding_hz), learned, 12, 0.7, 0.8))

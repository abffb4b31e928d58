"""Acoustic frames -> waveform."""

from services.vocoder.draft import DraftEngine, DraftStream, DraftTuning
from services.vocoder.engines import Engine, VocoderStream, load_engines
from services.vocoder.wavenet_engine import WaveNetEngine, WaveNetStream

__all__ = [
    "DraftEngine",
    "DraftStream",
    "DraftTuning",
    "Engine",
    "VocoderStream",
    "WaveNetEngine",
    "WaveNetStream",
    "load_engines",
]

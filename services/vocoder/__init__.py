"""Acoustic frames -> waveform."""

from services.vocoder.draft import DraftEngine, DraftStream, DraftTuning
from services.vocoder.engines import VocoderStream, load_engines, open_stream
from services.vocoder.wavenet_engine import WaveNetEngine, WaveNetStream

__all__ = [
    "DraftEngine",
    "DraftStream",
    "DraftTuning",
    "VocoderStream",
    "WaveNetEngine",
    "WaveNetStream",
    "load_engines",
    "open_stream",
]

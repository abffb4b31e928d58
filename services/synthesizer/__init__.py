"""Text and a speaker -> acoustic frames."""

from services.synthesizer.engine import FrameChunk, SpeechOptions, Synthesizer, WordTime
from services.synthesizer.network import Network

__all__ = ["FrameChunk", "Network", "SpeechOptions", "Synthesizer", "WordTime"]

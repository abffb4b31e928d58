"""Text and a speaker -> acoustic frames."""

from services.synthesizer.engine import FrameChunk, SpeechOptions, Synthesizer
from services.synthesizer.network import Network
from services.synthesizer.timing import WordTime

__all__ = ["FrameChunk", "Network", "SpeechOptions", "Synthesizer", "WordTime"]

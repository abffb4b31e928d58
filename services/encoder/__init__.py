"""Speaker encoder: a recording of one person -> who speaks, and how good the recording is."""

from services.encoder.encoder import EncodedSpeech, encode_speech
from services.encoder.model import SpeakerNetwork
from services.encoder.quality import ReferenceQuality

__all__ = ["EncodedSpeech", "ReferenceQuality", "SpeakerNetwork", "encode_speech"]

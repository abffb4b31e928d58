"""Untrusted bytes -> samples or pixels. The two functions that uploads and stored media go through."""

from services.common.decode_audio import DecodedAudio, decode_audio
from services.common.decode_picture import PictureFormat, decode_picture, encode_picture

__all__ = ["DecodedAudio", "PictureFormat", "decode_audio", "decode_picture", "encode_picture"]

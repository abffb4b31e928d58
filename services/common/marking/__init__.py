"""Imperceptible marks: a keyed 32-bit number in sound, pictures and films, found again after all usual treatment.

Import from the modules: `audio` for sound, `picture`, `film` and `frame_marker` for what is seen, `found` for what a
detector says. Nothing is gathered here, since a stage that marks sound has no codecs for pictures, and the other way
round.
"""

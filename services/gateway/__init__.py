"""The HTTP API of Likeness: consent, voices, speech, faces, swaps; the one place where stages are composed."""

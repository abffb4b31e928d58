"""Names of languages."""

from __future__ import annotations


def primary_language(tag: str) -> str:
    """Of a BCP 47 tag, what stands for all regions of the language: "en" for "en-GB"."""
    return tag.partition("-")[0].lower()

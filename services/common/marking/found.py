"""What a detector of marks says when it finds one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MarkFound:
    """A mark that was read.

    Attributes:
        number: the 32-bit number that it carries, never 0.
        confidence: 1 - the probability that unmarked media would have given as strong a statistic by chance.
    """

    number: int
    confidence: float

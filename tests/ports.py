"""Ports for servers that a test starts in a process of their own, which listens seconds after the port was picked.

They lie below those that the system gives to outgoing connections and to servers that ask for any port, so that nobody
takes one in between. Each process of a test run picks from a section of its own, and none twice in a round.
"""

from __future__ import annotations

import itertools
import os
import random
from typing import Final

from likeness._stack import port_is_free

FIRST: Final = 12_000
SECTION: Final = 2_500  # eight of them end at 32,000; Linux gives its own from 32,768
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_turns = itertools.count(random.randrange(SECTION))  # another run on this machine begins elsewhere


def free_ports(count: int) -> list[int]:
    """Ports of loopback on which nobody listens, all different."""
    candidates = (FIRST + _process * SECTION + turn % SECTION for turn in itertools.islice(_turns, SECTION))
    found = list(itertools.islice(filter(port_is_free, candidates), count))
    if len(found) < count:
        raise RuntimeError(f"Of {SECTION} ports {len(found)} are free; {count} were asked for.")
    return found


def free_port() -> int:
    return free_ports(1)[0]

"""One side of a paired benchmark: a process that does one round of work for each line it is sent.

Only the standard library, so that it runs in a peer's environment as well as in ours.
"""

import json
import resource
import sys
import time
from collections.abc import Callable


def serve(make: Callable[[], tuple[Callable[[], int], dict]]) -> None:
    """Warm up, then answer each line of standard input with the seconds and the amount of work of one round.

    make: gives `(round, facts)`: `round()` does the work, waits for its end and returns how much it was (seed-steps,
    images); facts: what is worth recording (versions, device, compile seconds).
    """
    started = time.perf_counter()
    work, facts = make()
    work()
    _say(ready=True, setup_seconds=time.perf_counter() - started, **facts)
    for _ in sys.stdin:
        started = time.perf_counter()
        amount = work()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        _say(seconds=seconds, amount=amount, peak_bytes=peak)


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()

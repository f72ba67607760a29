"""Run toy programs that die on purpose: `python -m tests.runs.server`, one JSON order a line, one JSON answer a line.

Importing jax and orbax takes seconds, dying takes milliseconds: the server imports once, before any device exists, and
forks a child for each order. A child can be killed at the k-th file operation under its store after unit n (so in a
chosen phase of a save or a restore, whatever the clock says), by the kernel inside a write of the C++ library, or be
told to stop.
"""

import json
import os
import resource
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path

_FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.listdir", "os.scandir"}


class Trap:
    """Counts file operations under `root`, and does `act` at number `event` after unit `unit` (0: while restoring)."""

    def __init__(self, root, unit, event, act):
        self.root, self.unit, self.event, self.act = str(root), unit, event, act
        self.units, self.events, self.seen, self.lock = 0, 0, [], threading.Lock()

    def hook(self, name, arguments):
        if name not in _FILE_EVENTS or not arguments or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(arguments[0])
        if not path.startswith(self.root):
            return
        with self.lock:
            self.seen.append([self.units, f"{name} {path[len(self.root) :]}"])
            if self.units < self.unit:
                return
            self.events += 1
            if self.events == self.event:
                self.act()


def work(order):
    """Drive the toy chains in `order["root"]`; give what happened."""
    from interp_jax.runs import driver, progress
    from interp_jax.runs.parts import Part
    from interp_jax.runs.store import open_store
    from tests.runs import toy

    root, ledger = Path(order["root"]), os.open(order["ledger"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    sig = getattr(signal, order.get("signal", "SIGKILL"))
    trap = Trap(root, order.get("unit", 0), order.get("event", -1), lambda: os.kill(os.getpid(), sig))
    sys.addaudithook(trap.hook)

    def step(state, index):
        os.write(ledger, f"{int(state['w'].shape[1])} {index}\n".encode())
        trap.units += 1
        if "bytes" in order and trap.units == order["unit"]:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if order["die"] else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["bytes"], resource.RLIM_INFINITY))
        return toy.update(state, index)

    widths = [
        order.get("width", 64) * (1 + seed) for seed in range(order.get("chains", 2))
    ]  # the width names the chain
    chains = [toy.chain(seed, width=width, step=step) for seed, width in enumerate(widths)]
    part = Part.parse(order.get("part", "1/1"))
    finals = {}
    driver.drive(
        chains, open_store(root, toy.CONFIG, part=part), part=part, every_seconds=order.get("every", 0),
        progress=progress.Quiet(), finish=lambda chain, state: finals.setdefault(chain.name, finger(state)),
    )  # fmt: skip
    return {"finals": finals, "seen": trap.seen if order.get("tell") else []}


def storing():
    from tests.ntk import storing

    return storing


def finger(state):
    from interp_jax.runs.digest import fingerprint

    return fingerprint(state)


def serve(order):
    """Fork a child for an order; answer with its end: code, or minus the signal, and what it wrote."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        answer, code = {}, 0
        try:
            os.close(read)
            answer = storing().work(order) if "write" in order else work(order)
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code, answer = 1, {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        os.write(write, json.dumps(answer).encode())
        os._exit(code)
    os.close(write)
    with open(read, "rb") as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status)} | (json.loads(said) if said else {})


def main():
    warnings.simplefilter(
        "ignore"
    )  # jax and Python warn of fork with threads; no device and no thread of jax exists yet
    import orbax.checkpoint  # noqa: F401

    from interp_jax.runs import driver, store  # noqa: F401
    from tests.runs import toy  # noqa: F401

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(serve(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

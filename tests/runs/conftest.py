import json
import subprocess
import sys

import pytest

from tests import processes


class Server:
    """`tests.runs.server` at the other end of a pipe."""

    def __init__(self, folder):
        environment = processes.environment(
            1, OPENBLAS_NUM_THREADS="1", JAX_COMPILATION_CACHE_DIR=str(folder / "cache"),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0", JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
        )  # fmt: skip
        with open(folder / "stderr", "w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.runs.server"], env=environment, cwd=processes.ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def run(self, root, **order):
        """Run one child on the store `root`; give its exit code, final fingerprints, and so on."""
        order = {"root": str(root), "ledger": f"{root}.ledger"} | order
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        """End the server."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.close()

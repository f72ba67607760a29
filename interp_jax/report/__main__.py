"""Build the page: `python -m interp_jax.report [results [committed]] [--out FILE]`."""

import sys

from interp_jax.report.page import main

if __name__ == "__main__":
    sys.exit(main())

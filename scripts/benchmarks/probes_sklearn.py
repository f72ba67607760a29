"""The other sides of the probes benchmark: a loop of scikit-learn's Ridge, and numpy loops that share Gram matrices.

A round of `ridge` is a number of fits of one layer and one fold at different penalties, which the harness turns into a
rate: each fit of a loop costs the same, whatever layer, fold and penalty (`--linear` checks that). A round of
`grams32` or `grams64` is one whole layer: a Gram matrix a fold, and a solve for each penalty.
"""

import argparse
import json
import time

import numpy as np
import probes_data as data
from worker import serve


def sklearn_fit(x: np.ndarray, y: np.ndarray, alpha: float, out: np.ndarray) -> np.ndarray:
    """Fit Ridge without one fold and give its errors there."""
    from sklearn.linear_model import Ridge

    guess = Ridge(alpha, solver="cholesky").fit(x[~out], y[~out]).predict(x[out])
    return ((guess - y[out]) ** 2).mean(0)


def shared_grams(x: np.ndarray, y: np.ndarray, alphas: np.ndarray, assigned: np.ndarray) -> np.ndarray:
    """Give errors `[A, F, K]`: centre, multiply out once a fold, then solve for each penalty."""
    errors = np.zeros((len(alphas), data.FOLDS, y.shape[1]))
    eye = np.eye(x.shape[1], dtype=x.dtype)
    for fold in range(data.FOLDS):
        out = assigned == fold
        middle, level = x[~out].mean(0), y[~out].mean(0)
        centred = x[~out] - middle
        gram, cross = centred.T @ centred, centred.T @ (y[~out] - level)
        held, left = x[out] - middle, y[out] - level
        for i, alpha in enumerate(alphas):
            errors[i, fold] = ((held @ np.linalg.solve(gram + alpha * eye, cross) - left) ** 2).mean(0)
    return errors


def main() -> None:
    """Serve rounds in units of ridge fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ridge", "grams32", "grams64"])
    parser.add_argument("--linear", action="store_true", help="time 2, 4 and 8 fits, and other layers and folds")
    options = parser.parse_args()
    xs, y, assigned = data.layers(2 if options.linear else 1)
    dtype = np.float64 if options.what == "grams64" else np.float32
    x, y, alphas = xs[0].astype(dtype), y.astype(dtype), data.ALPHAS.astype(dtype)

    def ridge(count: int = 4, layer: int = 0, fold: int = 0) -> int:
        for alpha in alphas[:: len(alphas) // count][:count]:
            sklearn_fit(xs[layer], y, float(alpha), assigned == fold)
        return count

    def grams() -> int:
        shared_grams(x, y, alphas, assigned)
        return data.FOLDS * len(alphas)

    if options.linear:
        for count, layer, fold in ((4, 0, 0), (2, 0, 0), (4, 0, 0), (8, 0, 0), (4, 1, 0), (4, 0, 3)):
            started = time.perf_counter()
            ridge(count, layer, fold)
            seconds = (time.perf_counter() - started) / count
            print(json.dumps({"fits": count, "layer": layer, "fold": fold, "seconds_a_fit": seconds}))
        return
    import sklearn

    versions = {"numpy": np.__version__, "sklearn": sklearn.__version__}
    serve(lambda: (ridge if options.what == "ridge" else grams, {"versions": versions}))


if __name__ == "__main__":
    main()

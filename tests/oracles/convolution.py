"""Convolutions of one image by their definition, in float64: a loop over the kernel's places, no library call."""

import numpy as np


def conv(x, kernel, stride, zeros):
    """y[i, j] = sum_ab x[s i + a - low, s j + b - low] kernel[a, b]; zeros: ((top, bottom), (left, right)) >= 0."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    (h, w, _, features), (sh, sw) = kernel.shape, stride
    ((top, bottom), (left, right)) = zeros
    rows = (x.shape[0] + top + bottom - h) // sh + 1
    columns = (x.shape[1] + left + right - w) // sw + 1
    y = np.zeros((rows, columns, features))
    for i in range(rows):
        for j in range(columns):
            for a in range(h):
                for b in range(w):
                    p, q = sh * i + a - top, sw * j + b - left
                    if 0 <= p < x.shape[0] and 0 <= q < x.shape[1]:
                        y[i, j] += x[p, q] @ kernel[a, b]
    return y


def conv_transpose(x, kernel, stride, start, size):
    """y[s i + a - start, s j + b - start] += x[i, j] kernel[a, b], for `size` places from `start`."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    (h, w, _, features), (sh, sw) = kernel.shape, stride
    y = np.zeros((*size, features))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            for a in range(h):
                for b in range(w):
                    p, q = sh * i + a - start[0], sw * j + b - start[1]
                    if 0 <= p < size[0] and 0 <= q < size[1]:
                        y[p, q] += x[i, j] @ kernel[a, b]
    return y


def same(n, k, s):
    """Zeros before and after an axis such that ceil(n / s) places come out, the odd one after (TensorFlow)."""
    total = max((int(np.ceil(n / s)) - 1) * s + k - n, 0)
    return total // 2, total - total // 2

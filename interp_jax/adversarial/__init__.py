"""Adversaries: norms, attacks on one example, evaluation and its checks, training, robust and non-robust features."""

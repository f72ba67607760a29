"""Interpretability methods as pure functions in JAX: see README.md."""

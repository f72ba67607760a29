"""Empirical neural tangent kernels: exact, structured, at scale."""

"""Linear fits that probes, concepts and metrics share: one run each, the caller vmaps."""

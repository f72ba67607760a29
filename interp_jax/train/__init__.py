"""The gradient trainer, and sweeps: tables of runs in groups of fixed width."""

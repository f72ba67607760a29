"""Probes: what a representation holds, with the controls that make the answer mean something."""

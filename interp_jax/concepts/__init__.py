"""Concept models: bottlenecks, embeddings and their kin, interventions on concepts, and what leaks through them."""

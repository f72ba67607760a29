"""Aliases, checks, key streams, linear algebra, statistics over seeds, information estimates."""

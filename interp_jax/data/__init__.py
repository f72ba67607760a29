"""Renderers and generators on the device, loaders of real data, index streams."""

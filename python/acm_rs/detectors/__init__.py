"""Detectors: models of a machine's usual behaviour, and how far readings lie from it."""

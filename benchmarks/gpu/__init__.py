"""Measurements on one CUDA GPU: ``python -m benchmarks.gpu``."""

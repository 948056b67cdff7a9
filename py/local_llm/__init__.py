"""Quantized language models in a web page: Python plans, WebGPU computes."""

__version__ = "0.1.0"

"""Denoising of a real sharp-kernel scan, judged by the same scan by a soft kernel."""

"""medjax: medical image restoration in JAX."""

__version__ = "0.1.0"

"""Whether images that a VAE makes help a classifier that has few real ones; see __main__.py."""

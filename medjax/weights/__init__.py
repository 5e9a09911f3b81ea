"""Published weights: a small set comes with medjax, larger ones are fetched once and checked."""

"""How fast every model and method trains and restores, beside PyTorch and the device's peak."""

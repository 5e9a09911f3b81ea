"""Every model and the filters in use today on the same held-out cases."""

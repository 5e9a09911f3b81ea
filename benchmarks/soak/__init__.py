"""A real run that everything ends, and that ends as if nothing had."""

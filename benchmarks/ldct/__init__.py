"""Low-dose CT: every method by the measures that clinicians ask for."""

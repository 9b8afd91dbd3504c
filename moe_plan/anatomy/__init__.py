"""From a spec to the list of everything that a model consists of."""

"""A small detector, anchor-free, with what trains it: shared by the examples that detect."""

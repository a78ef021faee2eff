"""`initialize`: the initial weights of a whole model."""

"""End hopeless trials before or during training."""

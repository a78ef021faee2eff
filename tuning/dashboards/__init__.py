"""What a search shows while it runs: TensorBoard and a progress bar."""

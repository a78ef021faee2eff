"""Activations and signal propagation in closed form or by quadrature: NumPy and SciPy only."""

"""Proofs of consent: what a person must do, and what is kept of it."""

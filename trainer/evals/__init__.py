"""Guardrail evaluations: what the model knew before and after."""

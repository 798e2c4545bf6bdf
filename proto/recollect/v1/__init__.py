"""The wire contract; the stubs in this folder are generated and never edited."""

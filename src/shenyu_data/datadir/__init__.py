"""The live data directory: listing it, reading it while it is written to, writing into it
safely.
"""

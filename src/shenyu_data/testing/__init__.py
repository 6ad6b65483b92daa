"""What tests of the program, and of storages written elsewhere, build on. Never imported by it."""

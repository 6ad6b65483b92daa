"""Benchmarks of shenyu-data beside its peers. For people and `make bench`; no part of src."""

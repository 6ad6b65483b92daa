"""What tests of shenyu-data, and of storages written elsewhere, build on. The program never imports it."""

"""The repository: its format, its keys, its packs, manifests and snapshots (docs/format.md)."""

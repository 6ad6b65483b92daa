"""Export and import: formats that carry a data directory elsewhere, readers and writers."""

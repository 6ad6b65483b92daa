"""Back up, restore, check and erase the data directory of Shenyu, an AI chat application."""

__version__ = "0.1.0"

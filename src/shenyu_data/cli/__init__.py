"""The command line: parse, call an operation, render what it returns. No logic lives here."""

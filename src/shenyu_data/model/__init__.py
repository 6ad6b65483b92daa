"""The pure part of the program: values and rules, no input or output. Any room may import it."""

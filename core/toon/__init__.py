"""The procedural world behind the embedded default: a stylised head, made of mathematics alone."""

"""Commands of the command line: one dataclass a command, whose fields are its options and whose run() does the work."""

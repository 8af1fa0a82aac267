"""Commands of the command line: one dataclass per command. Its fields are the options, its run() does the work."""

"""How our networks are optimised: parameter groups, schedule, precision."""

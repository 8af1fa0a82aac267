"""Timings, always as ratios within one run and next to what a user would use instead; they decide no test."""

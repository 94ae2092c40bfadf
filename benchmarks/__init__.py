"""Time what the library does beside what a user would pick instead."""

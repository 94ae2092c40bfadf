"""The cases of the benchmarks; each module has `cases`, which makes them one after the other."""

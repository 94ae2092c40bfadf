"""Tests; `checked` is the run-time type checker that they put on every function of the packages."""

import contextlib

with contextlib.suppress(ImportError):  # absent on bare machines, where addopts is overridden
    from beartype import BeartypeConf, beartype

    checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float

"""For `make test-oldest` and `make test-newest`: deprecations that other libraries meet among them.

Those that this project's own calls meet stay errors.
"""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "filterwarnings", r"ignore::DeprecationWarning:(?!tighnari_|tests|benchmarks)"
    )

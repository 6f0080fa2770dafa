"""Which kernels need programs that stand in for others."""

import pytest

from sigtrace.sources.spares import has_spares


@pytest.mark.parametrize(
    ("release", "needed"),
    [
        ("5.10.0-32-amd64", False),
        ("6.1.0-56-cloud-amd64", False),
        ("6.18.5", False),
        ("6.19.0-rc1", True),
        ("7.2.12+deb14-amd64", True),
        ("10.0", True),
        ("7", False),
        ("", False),
    ],
)
def test_a_kernel_that_preempts_tracepoints_needs_them(release, needed):
    assert has_spares(release) == needed

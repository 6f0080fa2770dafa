# SPDX-License-Identifier: Apache-2.0
"""The one exception of the benchmarks: something that a person has to mend before figures mean anything."""


class BenchError(Exception):
    """A benchmark can't run or its figures would be wrong; the message says what failed and what to do."""

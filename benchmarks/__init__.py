# SPDX-License-Identifier: Apache-2.0
"""What sigtrace costs, beside an empty BPF program and the peers that are installed (see README.md)."""

"""What the agent finds for who asks it for an audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from sigtrace.agent.settings import Settings
from sigtrace.model.recording.values import Encoder
from sigtrace.model.redaction import redacted
from sigtrace.service.protocol import Request

#: From the first look to the last, and what runtimes get to name containers.
_AUDIT_S: Final = 0.3
_SETTLE_S: Final = 2.0


def audits(settings: Settings, request: Request) -> Iterator[bytes]:
    """Rows as JSON. It takes its time."""
    from sigtrace.attribution.runtimes.lookup import Runtimes
    from sigtrace.attribution.runtimes.sockets import given
    from sigtrace.auditor import Auditor

    runtimes = Runtimes(given(settings.sockets) if settings.sockets else None)
    with runtimes, Auditor(settings.backend, runtimes) as auditor:
        runtimes.settle(_SETTLE_S)
        for audit in auditor.audit(request.lasting_s or _AUDIT_S, asked=request.signo):
            shown = redacted(audit) if settings.redact else audit
            yield json.dumps(Encoder({}).object(shown), separators=(",", ":")).encode("ascii")

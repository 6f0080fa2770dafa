/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The two rings. A forced wake-up costs some 6 us in a virtual machine, so a CPU forces at most one a millisecond, on
 * the leading edge, and otherwise none: the reader lingers on short polls after each record it got (sources/bpf.py).
 */
#ifndef SIGTRACE_RING_H
#define SIGTRACE_RING_H

#define WAKE_NS 1000000

static __always_inline u64 wake_flags(u64 now)
{
	u32 zero = 0;
	struct local *local = bpf_map_lookup_elem(&locals, &zero);

	if (!local || now - local->woken_ns < WAKE_NS)
		return BPF_RB_NO_WAKEUP;
	local->woken_ns = now;
	return BPF_RB_FORCE_WAKEUP;
}

/* A zeroed record, or NULL: then the ledger has it. */
static __always_inline struct event *reserve_event(void)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		enter(LEDGER_RING_EVENT);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	return event;
}

static __always_inline struct life *reserve_life(void)
{
	struct life *life = bpf_ringbuf_reserve(&lives, sizeof(*life), 0);

	if (!life) {
		enter(LEDGER_RING_LIFE);
		return 0;
	}
	__builtin_memset(life, 0, sizeof(*life));
	return life;
}

static __always_inline void submit_event(struct event *event)
{
	u64 flags = wake_flags(event->time_ns);

	bpf_ringbuf_submit(event, flags);
}

static __always_inline void submit_life(struct life *life)
{
	u64 flags = wake_flags(life->event.time_ns);

	bpf_ringbuf_submit(life, flags);
}

#endif

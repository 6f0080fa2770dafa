/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Cgroups that appear and go, in the hierarchy where containers live. */

/* Told with its name and its parent's id; user space joins them to a path. */
SEC(TRACEPOINT("cgroup_mkdir"))
int BPF_PROG(cgroup_mkdir, struct cgroup *cgroup)
{
	u64 parent, now;
	u64 id = FIELD(cgroup, kn, id), payer;
	struct life *life;
	bool admitted, by_user;
	long len;

	if (FIELD(cgroup, root, hierarchy_id) != config.hierarchy_id)
		return 0;
	parent = FIELD(cgroup, self.parent, cgroup, kn, id);
	admitted = admit(parent, BUDGET_MKDIR, &now);
	by_user = WITH_CURRENT(uid_of);
	/* From outside of containers, too, whoever makes them by the hundreds gives them no budgets. */
	if (WITH_CURRENT(level_of) || !admitted || (by_user && delegated >= DELEGATED_MAX)) {
		payer = admitted ? WITH_CURRENT(cgroup_of) : parent;
		payer = payer_of(payer);
		if (bpf_map_update_elem(&payers, &id, &payer, BPF_ANY))
			enter(LEDGER_PAYERS_FULL);
	} else if (!give_limit(id, by_user)) {
		if (by_user)
			__sync_fetch_and_add(&delegated, 1);
	} else if (!bpf_map_lookup_elem(&limits, &id)) {
		enter(LEDGER_LIMITS_FULL);
	}
	if (!admitted)
		return 0;
	life = reserve_life();
	if (!life)
		return 0;
	life->event.time_ns = now;
	life->event.kind = KIND_CGROUP_MKDIR;
	life->event.target.cgroup = id;
	life->event.target.parent_cgroup = parent;
	len = bpf_probe_read_kernel_str(life->text, TEXT_LEN, FIELD(cgroup, kn, name));
	life->text_len = len > 0 ? len - 1 : 0;
	submit_life(life);
	return 0;
}

SEC(TRACEPOINT("cgroup_rmdir"))
int BPF_PROG(cgroup_rmdir, struct cgroup *cgroup)
{
	u64 id = FIELD(cgroup, kn, id), mark = id | CGROUP_KEY, payer, now;
	struct limit *limit;
	bool stranger;

	if (FIELD(cgroup, root, hierarchy_id) != config.hierarchy_id)
		return 0;
	payer = payer_of(id);
	stranger = payer == id && is_stranger(id);
	limit = bpf_map_lookup_elem(&limits, &id);
	if (limit && limit->delegated)
		__sync_fetch_and_add(&delegated, -1);
	bpf_map_delete_elem(&limits, &id);
	bpf_map_delete_elem(&stopping, &mark);
	bpf_map_delete_elem(&payers, &id);
	now = bpf_ktime_get_boot_ns();
	/* It has counted nothing by its own name: `gone` is for those that have, and should not be full of these. */
	if (stranger || (payer != id && !has_budget(payer, BUDGET_RMDIR, &now)))
		return 0;
	if (bpf_map_update_elem(&gone, &id, &now, BPF_ANY))
		enter(LEDGER_GONE_FULL);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Cgroups that appear and go. A record has the name and the parent's id; user space joins them to a path. */

static __always_inline void tell_cgroup(struct cgroup *cgroup, u8 kind)
{
	u64 parent = cgroup->self.parent->cgroup->kn->id;
	struct life *life;
	u64 now;
	long len;

	if (!admit(parent, BUDGET_STOP, &now))
		return;
	life = reserve_life();
	if (!life)
		return;
	life->event.time_ns = now;
	life->event.kind = kind;
	life->event.target.cgroup = cgroup->kn->id;
	life->event.target.parent_cgroup = parent;
	len = bpf_probe_read_kernel_str(life->text, TEXT_LEN, cgroup->kn->name);
	life->text_len = len > 0 ? len - 1 : 0;
	submit_life(life);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgroup)
{
	if (cgroup->root->hierarchy_id == config.hierarchy_id)
		tell_cgroup(cgroup, KIND_CGROUP_MKDIR);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_rmdir, struct cgroup *cgroup)
{
	u64 id = cgroup->kn->id;

	if (cgroup->root->hierarchy_id != config.hierarchy_id)
		return 0;
	bpf_map_delete_elem(&stopping, &id);
	bpf_map_delete_elem(&limits, &id);
	tell_cgroup(cgroup, KIND_CGROUP_RMDIR);
	return 0;
}

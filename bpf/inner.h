/*
 * What happens to mounts, told by programs on functions of the kernel while it happens, by the
 * thread that does it, where the kernel lets programs be put there (fentry). Which functions those
 * are is for mnttrace/capture/inner.py to say.
 */
#ifndef MNTTRACE_INNER_H
#define MNTTRACE_INNER_H

#ifdef INNER
/* The mount that a thread detached last, since a call of it was told. */
BPF_TABLE("lru_hash", u64, u64, last_detached, 16384);

static __always_inline void tell(u64 mount, u32 mask)
{
	struct event_record r = {};

	r.kind = RECORD_EVENT;
	r.mask = mask;
	r.at = bpf_ktime_get_ns();
	r.tid = bpf_get_current_pid_tgid();
	ids_of(mount, &r.unique, &r.mount_id);
	if (events.ringbuf_output(&r, sizeof(r), BPF_RB_NO_WAKEUP))
		count(LOST_EVENT);
	else
		count(SENT_EVENT);
}

#ifdef INNER_ADDED
/* void mnt_add_to_ns(struct mnt_namespace *ns, struct mount *mnt) */
int kretfunc__mnt_add_to_ns(u64 *ctx)
{
	tell(ctx[1], FAN_MNT_ATTACH);
	return 0;
}
#else
/* struct mount *clone_mnt(struct mount *old, struct dentry *root, int flag) */
int kretfunc__clone_mnt(u64 *ctx)
{
	u64 made = ctx[3];

	if (made && made < -4095ULL)
		tell(made, FAN_MNT_ATTACH);
	return 0;
}

/* void commit_tree(struct mount *mnt) */
int kfunc__commit_tree(u64 *ctx)
{
	tell(ctx[0], FAN_MNT_ATTACH);
	return 0;
}
#endif

static __always_inline void tell_if_detached(u64 mount)
{
	u64 thread = bpf_get_current_pid_tgid(), unique;

	if (!(FIELD(u32, mount, MOUNT_MNT + VFSMOUNT_FLAGS) & MNT_UMOUNT))
		return;
	unique = unique_of(mount);
	tell(mount, FAN_MNT_DETACH);
	last_detached.update(&thread, &unique);
}

/* umount_tree() takes each of its mounts out of its peer group. */
#ifdef INNER_TRANSFERRED
/* void transfer_propagation(struct mount *mnt, struct mount *to) */
int kfunc__transfer_propagation(u64 *ctx)
{
	tell_if_detached(ctx[0]);
	return 0;
}
#else
/* void change_mnt_propagation(struct mount *mnt, int type) */
int kretfunc__change_mnt_propagation(u64 *ctx)
{
	tell_if_detached(ctx[0]);
	return 0;
}
#endif

/* The mount that this thread detached last; it is told only once. */
static __always_inline u64 take_last_detached(void)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 *last = last_detached.lookup(&thread), unique = last ? *last : 0;

	if (last)
		last_detached.delete(&thread);
	return unique;
}
#endif
#endif

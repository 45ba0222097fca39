/*
 * What happens to mounts, told by programs on functions of the kernel while it happens, by the
 * thread that does it, where the kernel lets programs be put there: fentry and fexit, or kprobes.
 * Which functions those are is for mnttrace/probes/kernel_functions.py to say.
 */
#ifndef MNTTRACE_INNER_H
#define MNTTRACE_INNER_H

#ifdef INNER
/* bcc attaches them by their names. */
#ifdef INNER_KPROBES
#define AT_ENTRY(function) int kprobe__##function(u64 *ctx)
#define AT_EXIT(function) int kretprobe__##function(u64 *ctx)
#define GIVEN(n) ctx[REGISTER_OF_##n / 8]
#define RETURNED(arguments) ctx[REGISTER_OF_RESULT / 8]
#else
#define AT_ENTRY(function) int kfunc__##function(u64 *ctx)
#define AT_EXIT(function) int kretfunc__##function(u64 *ctx)
#define GIVEN(n) ctx[n]
/* It lies behind what was given. */
#define RETURNED(arguments) ctx[arguments]
#endif

/* The mounts that a thread attached and detached last, since a call of it was told. */
struct last_told {
	u64 attached;
	u64 detached;
};

BPF_TABLE("lru_hash", u64, struct last_told, last_told, 16384);

static __always_inline void remember_told(u64 unique, u32 mask)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct last_told *last = last_told.lookup(&thread), first = {};

	if (!last) {
		last_told.update(&thread, &first);
		last = last_told.lookup(&thread);
	}
	if (!last)
		return;
	if (mask == FAN_MNT_ATTACH)
		last->attached = unique;
	else
		last->detached = unique;
}

/* That mount; it is told only once. */
static __always_inline u64 take_last_told(u32 mask)
{
	u64 thread = bpf_get_current_pid_tgid(), unique;
	struct last_told *last = last_told.lookup(&thread);

	if (!last)
		return 0;
	unique = mask == FAN_MNT_ATTACH ? last->attached : last->detached;
	if (mask == FAN_MNT_ATTACH)
		last->attached = 0;
	else
		last->detached = 0;
	return unique;
}

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
	remember_told(r.unique, mask);
}

#ifdef INNER_ADDED
/* void mnt_add_to_ns(struct mnt_namespace *ns, struct mount *mnt): told before others can come by the
 * mount, for who does it may be preempted there. */
AT_ENTRY(mnt_add_to_ns)
{
	tell(GIVEN(1), FAN_MNT_ATTACH);
	return 0;
}
#else
/* struct mount *clone_mnt(struct mount *old, struct dentry *root, int flag) */
AT_EXIT(clone_mnt)
{
	u64 made = RETURNED(3);

	if (!made || made >= -4095ULL)
		return 0;
#ifdef INNER_NUMBERED
	give_number(made);
#endif
	tell(made, FAN_MNT_ATTACH);
	return 0;
}

/* void commit_tree(struct mount *mnt) */
AT_ENTRY(commit_tree)
{
	tell(GIVEN(0), FAN_MNT_ATTACH);
	return 0;
}
#endif

#ifdef INNER_NUMBERED
/* struct vfsmount *vfs_create_mount(struct fs_context *fc) */
AT_EXIT(vfs_create_mount)
{
	u64 made = RETURNED(1);

	if (made && made < -4095ULL)
		give_number(made - MOUNT_MNT);
	return 0;
}

/* void cleanup_mnt(struct mount *mnt): what is left to do when nobody uses it any more. */
AT_ENTRY(cleanup_mnt)
{
	take_number(GIVEN(0));
	return 0;
}
#endif

static __always_inline void tell_if_detached(u64 mount)
{
	if (FIELD(u32, mount, MOUNT_MNT + VFSMOUNT_FLAGS) & MNT_UMOUNT)
		tell(mount, FAN_MNT_DETACH);
}

/* umount_tree() takes each of its mounts out of its peer group, when it has marked all of them. */
#ifdef INNER_TRANSFERRED
/* void transfer_propagation(struct mount *mnt, struct mount *to) */
AT_ENTRY(transfer_propagation)
{
	tell_if_detached(GIVEN(0));
	return 0;
}
#else
/* void change_mnt_propagation(struct mount *mnt, int type) */
AT_ENTRY(change_mnt_propagation)
{
	tell_if_detached(GIVEN(0));
	return 0;
}
#endif
#endif
#endif

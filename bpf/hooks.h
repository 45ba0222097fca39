/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Kernel hooks: programs on the functions of fs/namespace.c and fs/pnode.c that attach and detach
 * mounts, by fentry and fexit or by kprobes. They run in the thread that does it, and send one
 * event for each mount. mnttrace/probes/kernel_functions.py chooses among them (HOOK_ADDED …) by
 * what the kernel has.
 */
#ifndef MNTTRACE_HOOKS_H
#define MNTTRACE_HOOKS_H

#ifdef HOOKS
/* mnttrace/probes/compile.py knows by these names what they are for. */
#define AT_ENTRY(function) int at_entry__##function(u64 *ctx)
#define AT_EXIT(function) int at_exit__##function(u64 *ctx)
#ifdef HOOK_KPROBES
#define GIVEN(n) ctx[REGISTER_OF_##n / 8]
#define RETURNED(arguments) ctx[REGISTER_OF_RESULT / 8]
#else
#define GIVEN(n) ctx[n]
/* The result is behind the arguments. */
#define RETURNED(arguments) ctx[arguments]
#endif

/* The mounts that a thread attached and detached last, until one of its calls takes them. */
struct last_events {
	u64 attached;
	u64 detached;
};

BPF_TABLE("lru_hash", u64, struct last_events, last_events, 16384);

static __always_inline void remember_last_event(u64 unique, u32 mask)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct last_events *last = last_events.lookup(&thread), first = {};

	if (!last) {
		last_events.update(&thread, &first);
		last = last_events.lookup(&thread);
	}
	if (!last)
		return;
	if (mask == FAN_MNT_ATTACH)
		last->attached = unique;
	else
		last->detached = unique;
}

/* The mount that this thread attached or detached last; 0 when asked again. */
static __always_inline u64 take_last_event(u32 mask)
{
	u64 thread = bpf_get_current_pid_tgid(), unique;
	struct last_events *last = last_events.lookup(&thread);

	if (!last)
		return 0;
	unique = mask == FAN_MNT_ATTACH ? last->attached : last->detached;
	if (mask == FAN_MNT_ATTACH)
		last->attached = 0;
	else
		last->detached = 0;
	return unique;
}

static __always_inline void send_event(u64 mount, u32 mask)
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
	remember_last_event(r.unique, mask);
}

#ifdef HOOK_ADDED
/* void mnt_add_to_ns(struct mnt_namespace *ns, struct mount *mnt). At its beginning, so that the
 * event is sent before any list that has the mount, although the thread can be preempted. */
AT_ENTRY(mnt_add_to_ns)
{
	send_event(GIVEN(1), FAN_MNT_ATTACH);
	return 0;
}
#else
/* struct mount *clone_mnt(struct mount *old, struct dentry *root, int flag) */
AT_EXIT(clone_mnt)
{
	u64 made = RETURNED(3);

	if (!made || made >= -4095ULL)
		return 0;
#ifdef HOOK_NUMBERED
	give_number(made);
#endif
	send_event(made, FAN_MNT_ATTACH);
	return 0;
}

/* void commit_tree(struct mount *mnt) */
AT_ENTRY(commit_tree)
{
	send_event(GIVEN(0), FAN_MNT_ATTACH);
	return 0;
}
#endif

#ifdef HOOK_NUMBERED
/* struct vfsmount *vfs_create_mount(struct fs_context *fc) */
AT_EXIT(vfs_create_mount)
{
	u64 made = RETURNED(1);

	if (made && made < -4095ULL)
		give_number(made - MOUNT_MNT);
	return 0;
}

/* void cleanup_mnt(struct mount *mnt): the last reference to the mount is gone. */
AT_ENTRY(cleanup_mnt)
{
	take_number(GIVEN(0));
	return 0;
}
#endif

static __always_inline void send_if_detached(u64 mount)
{
	if (FIELD(u32, mount, MOUNT_MNT + VFSMOUNT_FLAGS) & MNT_UMOUNT)
		send_event(mount, FAN_MNT_DETACH);
}

/* umount_tree() sets MNT_UMOUNT on all mounts that it detaches, then takes each out of its peer
 * group by one of these. */
#ifdef HOOK_TRANSFERRED
/* void transfer_propagation(struct mount *mnt, struct mount *to) */
AT_ENTRY(transfer_propagation)
{
	send_if_detached(GIVEN(0));
	return 0;
}
#else
/* void change_mnt_propagation(struct mount *mnt, int type) */
AT_ENTRY(change_mnt_propagation)
{
	send_if_detached(GIVEN(0));
	return 0;
}
#endif
#endif
#endif

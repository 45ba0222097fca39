/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The path of a descriptor, or of the working or root directory: the names from there up to the
 * root of the namespace, as prepend_path() in fs/d_path.c collects them up to the process's root.
 * Programs on tracepoints may not call bpf_d_path(), so they walk the dentries.
 */
#ifndef MNTTRACE_PATH_H
#define MNTTRACE_PATH_H

#define PATHS 3
/* So many mounts at "/" are looked at: seldom is there more than rootfs and what is on it. */
#define ROOTS_LOOKED_AT 4

/* A path that is to be sent. */
struct wanted {
	u32 argument;
	u32 base;
	s32 descriptor;
	u32 spare;
	u64 dentry;
};

/* The state of the loop is in a map and volatile: the verifier knows no values of it then, so that
 * all iterations are the same to it. */
struct path_scratch {
	struct path_record record;
	char names[STRING_SIZE + NAME_SIZE];
	struct wanted wanted[4];
	u64 entered;
	u32 count;
	u32 spare;
	volatile u32 used;
	volatile u64 vfsmount;
	volatile u64 dentry;
	volatile u64 mount_root;
};

BPF_PERCPU_ARRAY(path_scratch, struct path_scratch, SLOTS);

/* Whether a text begins with /proc/self/fd/N or /proc/thread-self/fd/N; `is_all`: it ends there. */
static __always_inline bool proc_descriptor(char *head, s32 *descriptor, bool *is_all)
{
	u64 *words = (u64 *)head;
	u32 i, at, value = 0;

	if (words[0] == 0x65732f636f72702fULL && /* "/proc/se" */
	    (words[1] & 0xffffffffffffULL) == 0x2f64662f666cULL) /* "lf/fd/" */
		at = 14;
	else if (words[0] == 0x68742f636f72702fULL && /* "/proc/th" */
		 words[1] == 0x6c65732d64616572ULL && /* "read-sel" */
		 (words[2] & 0xffffffffffULL) == 0x2f64662f66ULL) /* "f/fd/" */
		at = 21;
	else
		return false;
#pragma unroll
	for (i = 0; i < 7; i++) {
		char c = head[(at + i) & 31];

		if (c < '0' || c > '9')
			break;
		value = value * 10 + (c - '0');
	}
	*is_all = i && !head[(at + i) & 31];
	*descriptor = value;
	return true;
}

static __always_inline void want_path(u32 slot, u32 argument, u32 base, s32 descriptor, u64 dentry)
{
	struct path_scratch *s = path_scratch.lookup(&slot);

	if (!s || s->count >= PATHS)
		return;
	struct wanted *w = &s->wanted[s->count & 3];
	w->argument = argument;
	w->base = base;
	w->descriptor = descriptor;
	w->dentry = dentry;
	s->count++;
}

static __always_inline void describe_mount(struct path_record *r, u64 vfsmount)
{
	u64 mount = vfsmount - MOUNT_MNT;
	u64 mntns = FIELD(u64, mount, MOUNT_NS);

	ids_of(mount, &r->mount_unique, &r->mount_id);
	/* A mount that is detached has no namespace, or an anonymous one, which has no id. */
	r->mntns = mntns && mntns != -22ULL ? mntns_inode(mntns) : 0;
	if (!mntns_id(mntns))
		r->mntns = 0;
}

static __always_inline bool begin_path(struct path_scratch *s, struct wanted *w)
{
	struct path_record *r = &s->record;
	u64 fs = FIELD(u64, bpf_get_current_task(), TASK_FS);
	u64 path = fs + (w->base == BASE_ROOT ? FS_ROOT : FS_PWD);

	__builtin_memset(r, 0, sizeof(*r));
	r->kind = RECORD_PATH;
	r->argument = w->argument;
	r->base = w->base;
	r->descriptor = w->descriptor;
	r->tid = bpf_get_current_pid_tgid();
	r->entered = s->entered;
	s->used = 0;
	if (w->base == BASE_DENTRY) {
		u64 inode = FIELD(u64, w->dentry, DENTRY_INODE);

		r->nsfs_type = namespace_type(inode, inode_magic(inode));
		if (r->nsfs_type)
			r->nsfs_inode = namespace_inode(inode);
		r->dentry = w->dentry;
		s->dentry = w->dentry;
		s->vfsmount = 0;
		return true;
	}
	if (w->base != BASE_CWD && w->base != BASE_ROOT) {
		u64 file = file_of(w->descriptor);

		if (!file)
			return false;
		path = file + FILE_PATH;
		r->context = FIELD(u64, file, FILE_PRIVATE);
		u64 inode = FIELD(u64, file, FILE_INODE);
		r->filesystem_magic = inode_magic(inode);
		r->nsfs_type = namespace_type(inode, r->filesystem_magic);
		if (r->nsfs_type)
			r->nsfs_inode = namespace_inode(inode);
	}
	s->vfsmount = FIELD(u64, path, PATH_MNT);
	s->dentry = FIELD(u64, path, PATH_DENTRY);
	describe_mount(r, s->vfsmount);
	s->mount_root = FIELD(u64, s->vfsmount, VFSMOUNT_ROOT);
	r->at_mount_root = s->dentry == s->mount_root;
	return true;
}

/* Whether the caller's root directory may not be that of its namespace: a chroot. */
static __always_inline bool is_in_chroot(void)
{
	u64 root = FIELD(u64, bpf_get_current_task(), TASK_FS) + FS_ROOT;
	u64 vfsmount = FIELD(u64, root, PATH_MNT), dentry = FIELD(u64, root, PATH_DENTRY);
	u32 i;

#pragma unroll
	for (i = 0; i < ROOTS_LOOKED_AT; i++) {
		u64 mount = vfsmount - MOUNT_MNT;

		if (dentry != FIELD(u64, vfsmount, VFSMOUNT_ROOT))
			return true;
		u64 parent = FIELD(u64, mount, MOUNT_PARENT);
		if (parent == mount)
			return false;
		dentry = FIELD(u64, mount, MOUNT_MOUNTPOINT);
		vfsmount = parent + MOUNT_MNT;
	}
	return true;
}

/* One step towards the root; false when the path is complete or cannot be continued. */
static __always_inline bool step_up(struct path_scratch *s)
{
	u64 vfsmount = s->vfsmount, dentry = s->dentry, parent;

	if (vfsmount && dentry == s->mount_root) {
		u64 mount = vfsmount - MOUNT_MNT;

		parent = FIELD(u64, mount, MOUNT_PARENT);
		if (parent == mount) {
			s->record.complete = 1;
			return false;
		}
		s->dentry = FIELD(u64, mount, MOUNT_MOUNTPOINT);
		s->vfsmount = parent + MOUNT_MNT;
		s->mount_root = FIELD(u64, s->vfsmount, VFSMOUNT_ROOT);
		return true;
	}
	parent = FIELD(u64, dentry, DENTRY_PARENT);
	if (!vfsmount && parent == dentry) {
		s->record.complete = 1;
		return false;
	}
	u32 used = s->used;
	if (used > STRING_SIZE - NAME_SIZE)
		return false;
	int n = read_kernel_str(&s->names[used], NAME_SIZE,
					  (void *)FIELD(u64, dentry, DENTRY_NAME));
	if (n <= 0)
		return false;
	s->used = used + n;
	s->dentry = parent;
	/* Without a directory: an anonymous inode such as [fscontext], a namespace. */
	if (parent == dentry)
		s->record.complete = 1;
	return parent != dentry;
}

/* Send a path record for the last path that is wanted; true if there are more. Callers come back by
 * tail call, since a loop within a loop is too much for the verifier of 6.1. */
static __always_inline bool send_path(struct path_scratch *s)
{
	u32 i, left = s->count - 1;

	if (left >= PATHS)
		return false;
	s->count = left;
	if (!begin_path(s, &s->wanted[left & 3]))
		return left;
#pragma clang loop unroll(disable)
	for (i = 0; i < PATH_DEPTH; i++)
		if (!step_up(s))
			break;
	u32 used = s->used;
	if (used > STRING_SIZE)
		return left;
	s->record.names_size = used;
	if (events.ringbuf_output(s, sizeof(s->record) + used, BPF_RB_NO_WAKEUP))
		count(LOST_PATH);
	else
		count(SENT_PATH);
	return left;
}
#endif

/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* The arguments of a call: where their paths begin, and the strings and structs behind pointers. */
#ifndef MNTTRACE_ARGUMENTS_H
#define MNTTRACE_ARGUMENTS_H

/* Whether a call that is not always recorded (setns, unshare, clone, clone3) is about a mount
 * namespace. Of setns(2) on one, `target` is that namespace's inode number. */
static __always_inline bool concerns_mount_namespace(struct traits *t, u64 *values, u32 *target)
{
	u64 flags = values[0];

	if (t->arg_kinds[0] == ARG_KIND_CLONE_ARGS) {
		/* Where the page is not in memory, leave_call() looks again. */
		if (read_user(&flags, sizeof(flags), (void *)values[0]))
			return true;
	} else if (t->arg_kinds[0] == ARG_KIND_DESCRIPTOR) {
		u64 file = file_of((s32)values[0]);

		/* Another recorder asks its own programs. */
		if (values[1] == ASK_LIST || values[1] == ASK_WATCHED || values[1] == ASK_THREAD)
			return false;
		if (file && file_namespace_type(file) == CLONE_NEWNS) {
			*target = namespace_inode(FIELD(u64, file, FILE_INODE));
			return true;
		}
		flags = values[1];
	}
	return flags & CLONE_NEWNS;
}

/* What an argument begins at, if it is a relative path or a descriptor: one of BASE_, else 0.
 * `is_all` says that it is that and no more, or "/", so that nothing is to be looked up. */
static __always_inline u32 base_of(struct traits *t, struct arguments *given, u32 i,
				   s32 *descriptor, bool *is_all)
{
	u8 kind = t->arg_kinds[i & 3];
	u64 value = given->value[i & 7];
	char head[32] = {};

	if (kind == ARG_KIND_DESCRIPTOR) {
		*descriptor = value;
		return BASE_DESCRIPTOR;
	}
	if (kind != ARG_KIND_PATH && kind != ARG_KIND_PATH_AT)
		return 0;
	/* mount's source is a path only for binds and moves. */
	if (i == 0 && t->kind == SYSCALL_KIND_MOUNT && !(given->value[3] & (MS_BIND | MS_MOVE)))
		return 0;
	*descriptor = kind == ARG_KIND_PATH_AT ? (s32)given->value[(i - 1) & 7] : AT_FDCWD;
	if (!value && *descriptor == AT_FDCWD)
		return 0;
	/* A path that cannot be read yet counts as relative: one record too many does no harm. */
	*is_all = read_user_str(head, sizeof(head), (void *)value) >= 0 &&
		  (!head[0] || !head[1]) && (!head[0] || head[0] == '.' || head[0] == '/');
	if (head[0] == '/')
		return proc_descriptor(head, descriptor, is_all) ? BASE_PROC_FD : 0;
	return *descriptor == AT_FDCWD ? BASE_CWD : BASE_DESCRIPTOR;
}

#ifdef CAN_WALK
/* The mount that an argument leads to which `is_all` (base_of()) is true for. */
static __always_inline u64 mount_at(u32 base, s32 descriptor)
{
	u64 fs = FIELD(u64, bpf_get_current_task(), TASK_FS);
	u64 path = fs + (base == BASE_CWD ? FS_PWD : FS_ROOT);

	if (base == BASE_DESCRIPTOR || base == BASE_PROC_FD) {
		u64 file = file_of(descriptor);

		if (!file)
			return 0;
		path = file + FILE_PATH;
	}
	return FIELD(u64, path, PATH_MNT) - MOUNT_MNT;
}

/* The flags and the peer group of a mount, as a number that is not 0. */
static __always_inline u64 settings_of(u64 mount)
{
	u64 flags = FIELD(u32, mount, MOUNT_MNT + VFSMOUNT_FLAGS);

#ifdef MOUNT_T_FLAGS
	flags ^= FIELD(u32, mount, MOUNT_T_FLAGS) * 0x9e3779b1U;
#endif
	return (u64)FIELD(u32, mount, MOUNT_GROUP) << 33 | flags << 1 | 1;
}

/* Whether the call can change no mount but its target. Not so where that leaves a peer group, since
 * its slaves may lose their master by that. The flags are looked at in the order of path_mount()
 * (fs/namespace.c). */
static __always_inline bool changes_target_alone(u32 kind, u64 *values, u64 mount)
{
	bool is_recursive;

	if (kind == SYSCALL_KIND_MOUNT) {
		u64 flags = values[3];

		if (flags & MS_REMOUNT)
			return flags & MS_BIND;
		if (flags & MS_BIND || !(flags & MS_PROPAGATION))
			return false;
		is_recursive = flags & MS_REC;
	} else {
		is_recursive = values[2] & AT_RECURSIVE;
	}
	return !FIELD(u32, mount, MOUNT_GROUP) && !FIELD(u64, mount, MOUNT_MASTER) &&
	       (!is_recursive || FIELD(u64, mount, MOUNT_MOUNTS) == mount + MOUNT_MOUNTS);
}
#endif

/* Append one string of the caller's memory to the record. */
static __always_inline void fetch_string(struct operation_scratch *s, u32 i, u64 address)
{
	u32 used = s->record.strings_size;
	char last = 0;

	if (!address)
		return;
	if (used > STRINGS_SIZE - STRING_SIZE) {
		s->record.lengths[i] = STRING_UNREADABLE;
		return;
	}
	int n = read_user_str(&s->strings[used], STRING_SIZE, (void *)address);
	if (n < 0) {
		s->record.lengths[i] = STRING_UNREADABLE;
		return;
	}
	/* Up to 6.1 the NUL of an empty string is not counted: as if there were no string. */
	if (!n)
		return;
	s->record.strings_size = used + n;
	if (n == STRING_SIZE)
		read_user(&last, 1, (void *)(address + STRING_SIZE - 1));
	s->record.lengths[i] = last ? STRING_CUT : n;
}

static __always_inline void fetch_argument(struct operation_scratch *s, struct traits *t, u32 i)
{
	u8 kind = t->arg_kinds[i];
	u64 value = s->record.arguments[i];
	u64 command = s->record.arguments[1];

	if (kind == ARG_KIND_VALUE_BY_COMMAND &&
	    (command == FSCONFIG_SET_STRING || command == FSCONFIG_SET_PATH ||
	     command == FSCONFIG_SET_PATH_EMPTY))
		kind = ARG_KIND_STRING;
	if (kind == ARG_KIND_STRING || kind == ARG_KIND_PATH || kind == ARG_KIND_PATH_AT)
		fetch_string(s, i, value);
	/* Keeps the compiler from merging this call with the one above through a pointer. */
	asm volatile("" ::: "memory");
	u32 size = kind == ARG_KIND_MOUNT_ATTR ? sizeof(s->record.attr) :
		   kind == ARG_KIND_CLONE_ARGS ? 8 : 0;
	if (size && value) {
		int failed = read_user(s->record.attr, size, (void *)value);

		s->record.lengths[i] = failed ? STRING_UNREADABLE : (s32)size;
	}
}
#endif

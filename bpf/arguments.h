/* The arguments of a call: which paths they begin at, and the strings and structs that they are. */
#ifndef MNTTRACE_ARGUMENTS_H
#define MNTTRACE_ARGUMENTS_H

/* Does this call concern a mount namespace? Only asked of calls that often do not. */
static __always_inline bool concerns_mount_namespace(struct traits *t, u64 *values, u32 *target)
{
	u64 flags = values[0];

	if (t->fetch[0] == ARG_KIND_CLONE_ARGS) {
		/* Not in memory yet: looked at again when the call ends. */
		if (read_user(&flags, sizeof(flags), (void *)values[0]))
			return true;
	} else if (t->fetch[0] == ARG_KIND_DESCRIPTOR) {
		u64 file = file_of((s32)values[0]);

		if (file && file_namespace_type(file) == CLONE_NEWNS) {
			*target = namespace_inode(FIELD(u64, file, FILE_INODE));
			return true;
		}
		flags = values[1];
	}
	return flags & CLONE_NEWNS;
}

/* The base of one argument, if it has one: what a relative path or a descriptor begins at; and
 * whether the argument is just that, or "/", with nothing to look up. */
static __always_inline u32 base_of(struct traits *t, struct arguments *given, u32 i,
				   s32 *descriptor, bool *is_all)
{
	u8 fetch = t->fetch[i & 3];
	u64 value = given->value[i & 7];
	char head[32] = {};

	if (fetch == ARG_KIND_DESCRIPTOR) {
		*descriptor = value;
		return BASE_DESCRIPTOR;
	}
	if (fetch != ARG_KIND_PATH && fetch != ARG_KIND_PATH_AT)
		return 0;
	/* mount's source is a path only for binds and moves. */
	if (i == 0 && t->does == SYSCALL_KIND_MOUNT && !(given->value[3] & (MS_BIND | MS_MOVE)))
		return 0;
	*descriptor = fetch == ARG_KIND_PATH_AT ? (s32)given->value[(i - 1) & 7] : AT_FDCWD;
	if (!value && *descriptor == AT_FDCWD)
		return 0;
	/* A head that cannot be read yet counts as relative: a base too many does no harm. */
	*is_all = read_user_str(head, sizeof(head), (void *)value) >= 0 &&
		  (!head[0] || !head[1]) && (!head[0] || head[0] == '.' || head[0] == '/');
	if (head[0] == '/')
		return proc_descriptor(head, descriptor, is_all) ? BASE_PROC_FD : 0;
	return *descriptor == AT_FDCWD ? BASE_CWD : BASE_DESCRIPTOR;
}

#ifdef CAN_WALK
/* The mount that an argument is which is just its base. */
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

/* How a mount is set, as a number that is not 0. */
static __always_inline u64 settings_of(u64 mount)
{
	u64 flags = FIELD(u32, mount, MOUNT_MNT + VFSMOUNT_FLAGS);

#ifdef MOUNT_T_FLAGS
	flags ^= FIELD(u32, mount, MOUNT_T_FLAGS) * 0x9e3779b1U;
#endif
	return (u64)FIELD(u32, mount, MOUNT_GROUP) << 33 | flags << 1 | 1;
}

/* Can the call change nothing but its target? A mount that leaves its peer group can take the master
 * from others. In the order in which path_mount() in fs/namespace.c looks at the flags. */
static __always_inline bool changes_target_alone(u32 does, u64 *values, u64 mount)
{
	bool is_recursive;

	if (does == SYSCALL_KIND_MOUNT) {
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
	/* Of an empty string older kernels do not count the end (6.1): as without any. */
	if (!n)
		return;
	s->record.strings_size = used + n;
	if (n == STRING_SIZE)
		read_user(&last, 1, (void *)(address + STRING_SIZE - 1));
	s->record.lengths[i] = last ? STRING_CUT : n;
}

static __always_inline void fetch_argument(struct operation_scratch *s, struct traits *t, u32 i)
{
	u8 fetch = t->fetch[i];
	u64 value = s->record.arguments[i];
	u64 command = s->record.arguments[1];

	if (fetch == ARG_KIND_VALUE_BY_COMMAND &&
	    (command == FSCONFIG_SET_STRING || command == FSCONFIG_SET_PATH ||
	     command == FSCONFIG_SET_PATH_EMPTY))
		fetch = ARG_KIND_STRING;
	if (fetch == ARG_KIND_STRING || fetch == ARG_KIND_PATH || fetch == ARG_KIND_PATH_AT)
		fetch_string(s, i, value);
	/* Keeps the compiler from merging this call with the one above through a pointer. */
	asm volatile("" ::: "memory");
	u32 size = fetch == ARG_KIND_MOUNT_ATTR ? sizeof(s->record.attr) : fetch == ARG_KIND_CLONE_ARGS ? 8 : 0;
	if (size && value) {
		int failed = read_user(s->record.attr, size, (void *)value);

		s->record.lengths[i] = failed ? STRING_UNREADABLE : (s32)size;
	}
}
#endif

/* The arguments of a call: which paths they begin at, and the strings and structs that they are. */
#ifndef MNTTRACE_ARGUMENTS_H
#define MNTTRACE_ARGUMENTS_H

/* Does this call concern a mount namespace? Only asked of calls that often do not. */
static __always_inline bool concerns_mount_namespace(struct traits *t, u64 *values, u32 *target)
{
	u64 flags = values[0];

	if (t->fetch[0] == FETCH_CLONE_ARGS) {
		/* Not in memory yet: looked at again when the call ends. */
		if (read_user(&flags, sizeof(flags), (void *)values[0]))
			return true;
	} else if (t->fetch[0] == FETCH_DESCRIPTOR) {
		u64 file = file_of((s32)values[0]);

		if (file && file_namespace_type(file) == CLONE_NEWNS) {
			*target = file_namespace_inode(file);
			return true;
		}
		flags = values[1];
	}
	return flags & CLONE_NEWNS;
}

/* The base of one argument, if it has one: what a relative path or a descriptor begins at. */
static __always_inline u32 base_of(struct traits *t, struct arguments *given, u32 i,
				   s32 *descriptor)
{
	u8 fetch = t->fetch[i & 3];
	u64 value = given->value[i & 7];
	char head[32] = {};

	if (fetch == FETCH_DESCRIPTOR) {
		*descriptor = value;
		return BASE_DESCRIPTOR;
	}
	if (fetch != FETCH_PATH && fetch != FETCH_PATH_AT)
		return 0;
	/* mount's source is a path only for binds and moves. */
	if (i == 0 && t->does == DOES_MOUNT && !(given->value[3] & (MS_BIND | MS_MOVE)))
		return 0;
	*descriptor = fetch == FETCH_PATH_AT ? (s32)given->value[(i - 1) & 7] : AT_FDCWD;
	if (!value && *descriptor == AT_FDCWD)
		return 0;
	/* A head that cannot be read yet counts as relative: a base too many does no harm. */
	read_user_str(head, sizeof(head), (void *)value);
	if (head[0] == '/')
		return proc_descriptor(head, descriptor) ? BASE_PROC_FD : 0;
	return *descriptor == AT_FDCWD ? BASE_CWD : BASE_DESCRIPTOR;
}

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
	if (n <= 0) {
		s->record.lengths[i] = STRING_UNREADABLE;
		return;
	}
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

	if (fetch == FETCH_VALUE_BY_COMMAND &&
	    (command == FSCONFIG_SET_STRING || command == FSCONFIG_SET_PATH ||
	     command == FSCONFIG_SET_PATH_EMPTY))
		fetch = FETCH_STRING;
	if (fetch == FETCH_STRING || fetch == FETCH_PATH || fetch == FETCH_PATH_AT)
		fetch_string(s, i, value);
	/* Keeps the compiler from merging this call with the one above through a pointer. */
	asm volatile("" ::: "memory");
	u32 size = fetch == FETCH_MOUNT_ATTR ? sizeof(s->record.attr) : fetch == FETCH_CLONE_ARGS ? 8 : 0;
	if (size && value) {
		int failed = read_user(s->record.attr, size, (void *)value);

		s->record.lengths[i] = failed ? STRING_UNREADABLE : (s32)size;
	}
}
#endif

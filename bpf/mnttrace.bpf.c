/*
 * Enter and exit handlers of the traced syscalls: one record an operation.
 *
 * One enter program for each number of arguments, because a handler that reads more of them than
 * the call has is refused, and one exit program for all. What a call's arguments are is asked of
 * the map `traits`, which mnttrace/capture/probes.py fills from mnttrace/linux/syscalls.py.
 * Offsets into kernel structs (TASK_NSPROXY …) come from BTF as definitions on the command line.
 */
#include "records.h"
#include "kernel.h"
#include "path.h"

struct traits {
	u8 fetch[6];
	u8 always;
	/* What a success gives: 1 a descriptor, 2 a mount. */
	u8 returns;
};

struct inflight {
	u64 entered;
	u64 arguments[6];
	u64 mntns_id;
	u64 child_mntns_id;
	u32 mntns;
	u32 child_mntns;
	u32 child;
	u32 target_mntns;
};

struct operation_scratch {
	struct operation_record record;
	char strings[STRINGS_SIZE + STRING_SIZE];
};

struct enter_context {
	u64 common;
	s64 number;
	u64 arguments[6];
};

struct exit_context {
	u64 common;
	s64 number;
	s64 result;
};

struct arguments {
	u64 value[6];
};

BPF_ARRAY(traits, struct traits, 512);
BPF_PERCPU_ARRAY(arguments, struct arguments, 1);
BPF_PROG_ARRAY(programs, 1);
BPF_HASH(inflight, u64, struct inflight, 10240);
BPF_PERCPU_ARRAY(operation_scratch, struct operation_scratch, 1);
#ifdef FOLLOW_DESCENDANTS
BPF_HASH(followed, u32, u8, 65536);
#endif

#define CLONE_NEWNS 0x20000
#define MS_BIND_OR_MOVE 0x3000
#define FSCONFIG_SET_STRING 1
#define FSCONFIG_SET_PATH 3
#define FSCONFIG_SET_PATH_EMPTY 4
#define AT_FDCWD -100

/* Does this call concern a mount namespace? Only asked of calls that often do not. */
static __always_inline bool concerns_mount_namespace(struct traits *t, u64 *values, u32 *target)
{
	u64 flags = values[0];

	if (t->fetch[0] == FETCH_CLONE_ARGS) {
		/* Not in memory yet: looked at again when the call ends. */
		if (bpf_probe_read_user(&flags, sizeof(flags), (void *)values[0]))
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
static __always_inline u32 base_of(struct traits *t, u64 *values, int i, s32 *descriptor)
{
	u8 fetch = t->fetch[i];
	char head[32] = {};

	if (fetch == FETCH_DESCRIPTOR) {
		*descriptor = values[i];
		return BASE_DESCRIPTOR;
	}
	if (fetch != FETCH_PATH && fetch != FETCH_PATH_AT)
		return 0;
	/* mount's source is a path only for binds and moves. */
	if (i == 0 && t->fetch[4] == FETCH_STRING && !(values[3] & MS_BIND_OR_MOVE))
		return 0;
	*descriptor = fetch == FETCH_PATH_AT && i > 0 ? (s32)values[i - 1] : AT_FDCWD;
	if (!values[i] && *descriptor == AT_FDCWD)
		return 0;
	/* A head that cannot be read yet counts as relative: a base too many does no harm. */
	bpf_probe_read_user_str(head, sizeof(head), (void *)values[i]);
	if (head[0] == '/')
		return proc_descriptor(head, descriptor) ? BASE_PROC_FD : 0;
	return *descriptor == AT_FDCWD ? BASE_CWD : BASE_DESCRIPTOR;
}

/* What all calls do when they begin; reached by tail call from enter_1 … enter_5. */
int enter(struct enter_context *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct inflight call = {};
	u32 number = ctx->number, zero = 0;
	struct traits *t = traits.lookup(&number);
	struct arguments *given = arguments.lookup(&zero);
	int i;

	if (!t || !given)
		return 0;
#pragma unroll
	for (i = 0; i < ARGUMENTS; i++)
		call.arguments[i] = given->value[i];
	if (!t->always && !concerns_mount_namespace(t, call.arguments, &call.target_mntns))
		return 0;
	u64 mntns = current_mntns();
	call.entered = bpf_ktime_get_ns();
	call.mntns = mntns_inode(mntns);
	call.mntns_id = mntns_id(mntns);
	if (inflight.update(&thread, &call)) {
		count(LOST_INFLIGHT);
		return 0;
	}
#pragma unroll
	for (i = 0; i < 4; i++) {
		s32 descriptor = AT_FDCWD;
		u32 base = base_of(t, call.arguments, i, &descriptor);

		if (base)
			want_path(i, base, descriptor);
	}
	send_paths(call.entered);
	return 0;
}

static __always_inline int pass_on(struct enter_context *ctx, struct arguments *given)
{
	u32 zero = 0;

	arguments.update(&zero, given);
	programs.call(ctx, 0);
	return 0;
}

#define ENTER(n, ...)                                                                              \
	int enter_##n(struct enter_context *ctx)                                                   \
	{                                                                                          \
		struct arguments given = {{__VA_ARGS__}};                                          \
                                                                                                   \
		return pass_on(ctx, &given);                                                       \
	}
#define A(n) ctx->arguments[n]
ENTER(1, A(0))
ENTER(2, A(0), A(1))
ENTER(3, A(0), A(1), A(2))
ENTER(4, A(0), A(1), A(2), A(3))
ENTER(5, A(0), A(1), A(2), A(3), A(4))

/* Append one string of the caller's memory to the record. */
static __always_inline void fetch_string(struct operation_scratch *s, int i, u64 address)
{
	u32 used = s->record.strings_size;
	char last = 0;

	if (!address)
		return;
	if (used > STRINGS_SIZE - STRING_SIZE) {
		s->record.lengths[i] = STRING_UNREADABLE;
		return;
	}
	int n = bpf_probe_read_user_str(&s->strings[used], STRING_SIZE, (void *)address);
	if (n <= 0) {
		s->record.lengths[i] = STRING_UNREADABLE;
		return;
	}
	s->record.strings_size = used + n;
	if (n == STRING_SIZE)
		bpf_probe_read_user(&last, 1, (void *)(address + STRING_SIZE - 1));
	s->record.lengths[i] = last ? STRING_CUT : n;
}

static __always_inline void fetch_argument(struct operation_scratch *s, struct traits *t, int i)
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
		int failed = bpf_probe_read_user(s->record.attr, size, (void *)value);

		s->record.lengths[i] = failed ? STRING_UNREADABLE : (s32)size;
	}
}

static __always_inline void fill_caller(struct operation_record *r)
{
	u64 task = bpf_get_current_task();
	u64 thread = bpf_get_current_pid_tgid();
	u64 parent = FIELD(u64, task, TASK_REAL_PARENT);
	u64 cred = FIELD(u64, task, TASK_CRED);
	u64 pid = FIELD(u64, task, TASK_THREAD_PID);
	u64 upid = pid + PID_NUMBERS + FIELD(u32, pid, PID_LEVEL) * UPID_SIZE;

	r->pid = thread >> 32;
	r->tid = thread;
	r->parent = FIELD(u32, parent, TASK_TGID);
	r->uid = bpf_get_current_uid_gid();
	r->cgroup = bpf_get_current_cgroup_id();
	r->userns = FIELD(u32, FIELD(u64, cred, CRED_USER_NS), USER_NS_INUM);
	r->pidns = FIELD(u32, FIELD(u64, upid, UPID_NS), PID_NS_INUM);
	r->pid_inside = FIELD(u32, upid, UPID_NR);
	bpf_get_current_comm(r->comm, sizeof(r->comm));
#ifdef FOLLOW_DESCENDANTS
	r->descends = followed.lookup(&r->pid) != NULL;
#endif
}

int leave(struct exit_context *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	u32 number = ctx->number, zero = 0;
	s64 result = ctx->result;
	struct traits *t = traits.lookup(&number);
	struct inflight *call = inflight.lookup(&thread);
	struct operation_scratch *s = operation_scratch.lookup(&zero);
	int i;

	if (!t || !s)
		return 0;
	if (!call) {
		/* A call that began before the probes were there. */
		if (t->always)
			count(TORN_OPERATION);
		return 0;
	}
	struct operation_record *r = &s->record;
	r->kind = RECORD_OPERATION;
	r->strings_size = 0;
	r->number = number;
	r->entered = call->entered;
	r->left = bpf_ktime_get_ns();
	r->result = result;
	r->mntns_before = call->mntns;
	r->mntns_id_before = call->mntns_id;
	r->child = call->child;
	u64 mntns = current_mntns();
	r->mntns_after = mntns_inode(mntns);
	r->mntns_id_after = mntns_id(mntns);
	r->mntns_target = call->child_mntns;
	r->mntns_id_target = call->child_mntns_id;
	if (t->fetch[0] != FETCH_CLONE_ARGS && !call->child && !t->always) {
		r->mntns_target = result == 0 ? r->mntns_after : call->target_mntns;
		r->mntns_id_target = result == 0 ? r->mntns_id_after : 0;
	}
	r->attr_size = 0;
	__builtin_memset(r->attr, 0, sizeof(r->attr));
#pragma unroll
	for (i = 0; i < ARGUMENTS; i++) {
		r->arguments[i] = call->arguments[i];
		r->lengths[i] = STRING_NULL;
	}
	inflight.delete(&thread);
#pragma unroll
	for (i = 0; i < 5; i++)
		fetch_argument(s, t, i);
	if (t->fetch[0] == FETCH_CLONE_ARGS && !(r->attr[0] & CLONE_NEWNS))
		return 0;
	fill_caller(r);
	if (t->returns && result >= 0) {
		want_path(ARGUMENT_RESULT, t->returns == 2 ? BASE_MOUNT : BASE_DESCRIPTOR, result);
		send_paths(r->entered);
	}
	u32 size = sizeof(*r) + (r->strings_size & (2 * STRINGS_SIZE - 1));
	if (size > sizeof(*s))
		return 0;
	if (events.ringbuf_output(s, size, BPF_RB_NO_WAKEUP))
		count(LOST_OPERATION);
	else
		count(SENT_OPERATION);
	return 0;
}

/* clone and clone3: the child and its mount namespace are known here, whatever it does next. */
int fork(struct bpf_raw_tracepoint_args *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 child = ctx->args[1];
	struct inflight *call = inflight.lookup(&thread);

#ifdef FOLLOW_DESCENDANTS
	u32 pid = thread >> 32, child_pid = FIELD(u32, child, TASK_TGID);
	u8 one = 1;

	if (pid != child_pid && followed.lookup(&pid))
		followed.update(&child_pid, &one);
#endif
	if (call) {
		u64 mntns = FIELD(u64, FIELD(u64, child, TASK_NSPROXY), NSPROXY_MNT_NS);

		call->child = FIELD(u32, child, TASK_TGID);
		call->child_mntns = mntns_inode(mntns);
		call->child_mntns_id = mntns_id(mntns);
	}
	return 0;
}

/*
 * Enter and exit handlers of the traced syscalls: one record an operation, and with it where its
 * paths lead, who made it, and the mounts that it made.
 *
 * One enter program for each number of arguments, because a handler that reads more of them than
 * the call has is refused, and one exit program for all. What a call's arguments are is asked of
 * the map `traits`, which mnttrace/capture/probes.py fills from mnttrace/linux/syscalls.py.
 * Offsets into kernel structs (TASK_NSPROXY …) come from BTF as definitions on the command line.
 *
 *   enter_N → enter → enter_paths
 *   leave → walk → walk → … → leave_paths → finish
 *
 * Each program that begins such a row has memory of its own, see SLOTS in calls.h.
 */
#include "records.h"
#include "kernel.h"
#include "calls.h"
#include "path.h"
#include "list.h"
#include "steps.h"
#include "propagation.h"
#include "inner.h"
#include "arguments.h"
#include "caller.h"

/* What the recorder itself asks for; see struct recorder. */
static __always_inline void serve_recorder(void *ctx, struct recorder *own, u64 descriptor,
					   u64 asked)
{
	u64 file = file_of((s32)descriptor);

	if (!file)
		return;
	if (file_namespace_type(file) != CLONE_NEWNS) {
		own->group = FIELD(u64, file, FILE_PRIVATE);
		return;
	}
	if (asked == ASK_WATCHED) {
		u64 id = mntns_id(file_mntns(file));
		u8 one = 1;

		watched.update(&id, &one);
		return;
	}
#ifdef CAN_WALK
	if (begin_namespace(file_mntns(file), 0, LIST_SURVEY, 0)) {
		if (own->listed)
			go_on_after(own->listed);
		programs.call(ctx, PROGRAM_SURVEY);
	}
#endif
}

/* What all calls do when they begin; reached by tail call from enter_1 … enter_5. */
int enter(struct enter_context *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct inflight call = {};
	u32 number = ctx->number, zero = 0, i;
	struct traits *t = traits.lookup(&number);

	if (!t)
		return 0;
	u32 slot = t->count;
	struct arguments *given = arguments.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);
	struct path_scratch *s = path_scratch.lookup(&slot);

	if (!given || !own || !s)
		return 0;
	if (thread >> 32 == own->pid) {
		if (t->fetch[0] == FETCH_DESCRIPTOR && !t->always)
			serve_recorder(ctx, own, given->value[0], given->value[1]);
		return 0;
	}
	if (!t->always && !concerns_mount_namespace(t, given->value, &call.target_mntns))
		return 0;
	u64 mntns = current_mntns();
	call.entered = bpf_ktime_get_ns();
	__builtin_memcpy(call.arguments, given->value, sizeof(call.arguments));
	call.mntns = mntns_inode(mntns);
	call.mntns_id = mntns_id(mntns);
	call.mounts = FIELD(u32, mntns, MNT_NS_COUNT);
	/* Asked now: a namespace that comes to be watched during the call may not tell of it. */
#ifdef INNER
	call.watched = 1;
#else
	call.watched = t->does == DOES_UMOUNT && watched.lookup(&call.mntns_id);
#endif
#ifdef CAN_WALK
	if (t->does == DOES_MOUNT || t->does == DOES_MOVE_MOUNT)
		call.watermark = newest_of(mntns);
	if (t->does == DOES_MOVE_MOUNT && given->value[4] & MOVE_MOUNT_F_EMPTY_PATH) {
		u64 file = file_of((s32)given->value[0]);

		call.moved = file ? FIELD(u64, file + FILE_PATH, PATH_MNT) - MOUNT_MNT : 0;
	}
#endif
	s->count = 0;
	s->entered = call.entered;
#pragma clang loop unroll(disable)
	for (i = 0; i < 4; i++) {
		s32 descriptor = AT_FDCWD;
		bool is_all = false;
		u32 base = base_of(t, given, i, &descriptor, &is_all);

		if (base)
			want(slot, i, base, descriptor, 0);
#ifdef CAN_WALK
		if (i == 1 && is_all && (t->does == DOES_MOUNT || t->does == DOES_SETATTR)) {
			u64 mount = mount_at(base, descriptor);

			if (mount && changes_target_alone(t->does, given->value, mount)) {
				call.target = mount;
				call.target_unique = unique_of(mount);
				call.target_settings =
					base == BASE_PROC_FD ? settings_of(mount) : 0;
			}
		}
#endif
	}
	if (inflight.update(&thread, &call)) {
		count(LOST_INFLIGHT);
		return 0;
	}
	if (s->count)
		programs.call(ctx, PROGRAM_ENTER_PATHS);
	return 0;
}

static __always_inline int pass_on(struct enter_context *ctx, u32 slot, struct arguments *given)
{
	arguments.update(&slot, given);
	programs.call(ctx, PROGRAM_ENTER);
	return 0;
}

#define ENTER(n, ...)                                                                              \
	int enter_##n(struct enter_context *ctx)                                                   \
	{                                                                                          \
		struct arguments given = {{__VA_ARGS__}};                                          \
                                                                                                   \
		return pass_on(ctx, n, &given);                                                    \
	}
#define A(n) ctx->arguments[n]
ENTER(1, A(0))
ENTER(2, A(0), A(1))
ENTER(3, A(0), A(1), A(2))
ENTER(4, A(0), A(1), A(2), A(3))
ENTER(5, A(0), A(1), A(2), A(3), A(4))

/* The mount in the last event of this thread that the recorder's fanotify group has, if it tells
 * what is asked for: where the events of this call end, unless it caused none. Others may have
 * caused some since. The answer is to be checked, as events may be read and freed meanwhile. */
static __always_inline u64 last_notified(struct recorder *own, u32 asked)
{
#ifdef INNER
	return asked == FAN_MNT_DETACH ? take_last_detached() : 0;
#elif defined(FANOTIFY_MNT_ID)
	u64 head = own->group + GROUP_LIST;
	u64 last = own->group ? FIELD(u64, head, 8) : head;
	u64 thread = FIELD(u64, bpf_get_current_task(), TASK_THREAD_PID);
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < EVENTS_LOOKED_AT && last && last != head; i++) {
		u64 event = last - FSNOTIFY_EVENT_LIST;

		if (FIELD(u64, event, FANOTIFY_PID) == thread) {
			u32 mask = FIELD(u32, event, FANOTIFY_MASK);

			/* Both: it was moved. */
			if ((mask & (FAN_MNT_ATTACH | FAN_MNT_DETACH)) != asked)
				return 0;
			return FIELD(u64, event, FANOTIFY_MNT_ID);
		}
		last = FIELD(u64, last, 8);
	}
#endif
	return 0;
}

#ifdef CAN_WALK
/* Get ready to list what the call did to mounts; false if there is nothing to list. */
static __always_inline bool begin_list(struct traits *t, struct inflight *call, u64 mntns,
				       s64 result, u32 *cut)
{
	u32 does = t->does;
	u64 flags = call->arguments[3], watermark = 0;

	if (does == DOES_NAMESPACE) {
		/* The child may have died with its namespace. */
		if (call->child_mntns)
			return mntns_id(call->child_mntns) == call->child_mntns_id &&
			       begin_namespace(call->child_mntns, 0, LIST_BIRTH, call->entered);
		return mntns_id(mntns) != call->mntns_id &&
		       begin_namespace(mntns, 0, LIST_BIRTH, call->entered);
	}
	if (does == DOES_DESCRIPTOR) {
		/* Since 7.0 open_tree and fsmount can return a new namespace; a path leads to an old one. */
		u64 file = file_of(result);

		return file && !(FIELD(u32, file, FILE_MODE) & FMODE_PATH) &&
		       file_namespace_type(file) == CLONE_NEWNS &&
		       begin_namespace(file_mntns(file), 0, LIST_BIRTH, call->entered);
	}
	if (does == DOES_MOVE_MOUNT && call->moved)
		return begin_tree(call->moved, call->watermark, call->entered);
	if (call->target && unique_of(call->target) == call->target_unique &&
	    settings_of(call->target) != call->target_settings)
		return begin_changed(call->target, mntns, call->entered);
	/* In the order in which path_mount() in fs/namespace.c looks at the flags. */
	if (does == DOES_MOUNT && !(flags & MS_REMOUNT) &&
	    (flags & MS_BIND || !(flags & (MS_PROPAGATION | MS_MOVE))))
		return begin_namespace(mntns, call->watermark, LIST_MADE, call->entered);
	if (does == DOES_UMOUNT) {
		if (call->watched)
			return false;
	} else if (does == DOES_MOVE_MOUNT ||
		   (does == DOES_MOUNT && !(flags & (MS_REMOUNT | MS_PROPAGATION)))) {
		watermark = call->watermark;
	} else if (does == DOES_MOUNT) {
		/* Changes what is there. */
	} else if (does == DOES_RECONFIGURE) {
		if (call->arguments[1] != FSCONFIG_CMD_RECONFIGURE)
			return false;
	} else if (does != DOES_PIVOT && does != DOES_SETATTR) {
		return false;
	}
	if (!watermark && FIELD(u32, mntns, MNT_NS_COUNT) > LIST_LIMIT) {
		*cut = 1;
		return false;
	}
	return begin_namespace(mntns, watermark, LIST_AFTER, call->entered);
}
#endif

int leave(struct exit_context *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	u32 number = ctx->number, zero = 0;
	s64 result = ctx->result;
	struct traits *t = traits.lookup(&number);
	struct inflight *call = inflight.lookup(&thread);
	struct operation_scratch *s = operation_scratch.lookup(&zero);
	struct path_scratch *paths = path_scratch.lookup(&zero);
	struct recorder *own = recorder.lookup(&zero);
	u32 i;

	if (!t || !s || !paths || !own || thread >> 32 == own->pid)
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
	r->mntns_target = mntns_inode(call->child_mntns);
	r->mntns_id_target = call->child_mntns_id;
	if (t->fetch[0] != FETCH_CLONE_ARGS && !call->child && !t->always) {
		r->mntns_target = result == 0 ? r->mntns_after : call->target_mntns;
		r->mntns_id_target = result == 0 ? r->mntns_id_after : 0;
	}
	r->mounts_less = call->mounts - FIELD(u32, mntns, MNT_NS_COUNT);
	r->notified = t->does == DOES_UMOUNT && !result ? last_notified(own, FAN_MNT_DETACH) : 0;
	r->walk_cut = 0;
	r->attr_size = 0;
	__builtin_memset(r->attr, 0, sizeof(r->attr));
	__builtin_memcpy(r->arguments, call->arguments, sizeof(r->arguments));
	__builtin_memset(r->lengths, 0, sizeof(r->lengths));
#pragma clang loop unroll(disable)
	for (i = 0; i < 5; i++)
		fetch_argument(s, t, i);
	if (t->fetch[0] == FETCH_CLONE_ARGS && !(r->attr[0] & CLONE_NEWNS)) {
		inflight.delete(&thread);
		return 0;
	}
	fill_caller(r);
	paths->count = 0;
	paths->entered = r->entered;
	s->wakeup = BPF_RB_NO_WAKEUP;
#ifdef CAN_WALK
	bool list = result >= 0 && begin_list(t, call, mntns, result, &r->walk_cut);

	if (list && call->watermark)
		expect(last_notified(own, FAN_MNT_ATTACH));
	/* Who was born may be gone soon. */
	if (list && (t->does == DOES_NAMESPACE || t->does == DOES_DESCRIPTOR))
		s->wakeup = BPF_RB_FORCE_WAKEUP;
	inflight.delete(&thread);
	if (list)
		programs.call(ctx, PROGRAM_WALK);
#else
	inflight.delete(&thread);
#endif
	if (t->does == DOES_DESCRIPTOR && result >= 0) {
#ifdef CAN_WALK
		remember_detached(result);
#endif
		want(OF_CALL, ARGUMENT_RESULT, BASE_DESCRIPTOR, result, 0);
		programs.call(ctx, PROGRAM_LEAVE_PATHS);
	}
	programs.call(ctx, PROGRAM_FINISH);
	return 0;
}

#if defined(FANOTIFY_MNT_ID) || defined(INNER)
/* Removing and renaming: there is nothing to see when they begin, and mostly nothing at the end. */
int leave_remove(struct exit_context *ctx)
{
	u32 zero = 0, slot = OF_REMOVAL;
	struct operation_scratch *s = operation_scratch.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);

	if (!s || !own || ctx->result)
		return 0;
	u64 notified = last_notified(own, FAN_MNT_DETACH);
	if (!notified)
		return 0;
	struct operation_record *r = &s->record;
	u64 mntns = current_mntns();

	__builtin_memset(r, 0, sizeof(*r));
	r->kind = RECORD_OPERATION;
	r->number = ctx->number;
	r->entered = r->left = bpf_ktime_get_ns();
	r->mntns_before = r->mntns_after = mntns_inode(mntns);
	r->mntns_id_before = r->mntns_id_after = mntns_id(mntns);
	r->notified = notified;
	fill_caller(r);
	s->wakeup = BPF_RB_NO_WAKEUP;
	programs.call(ctx, PROGRAM_FINISH_REMOVAL);
	return 0;
}
#endif

#ifdef CAN_WALK
/* Goes on with a walk until it is through: by tail call to this program, if need be. */
static __always_inline void walk_on(void *ctx, struct walk *w, u32 program)
{
	if (!go_on(w)) {
		w->calls++;
		if (w->calls < WALK_CALLS)
			programs.call(ctx, program);
	}
}

/* A walk for the recorder, begun by enter. */
int survey(void *ctx)
{
	u32 zero = 0, slot = OF_SURVEY;
	struct walk *w = walks.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);

	if (!w || !own)
		return 0;
	walk_on(ctx, w, PROGRAM_SURVEY);
	/* One that is only too long is asked for again, until it is whole. */
	own->listed = w->phase != PHASE_DONE && w->phase != PHASE_ASTRAY ? w->newest : 0;
	if (w->phase == PHASE_ASTRAY)
		count(CUT_WALK);
	end_walk(w);
	return 0;
}

/* A walk after a call, begun by leave. */
int walk(void *ctx)
{
	u32 slot = OF_CALL;
	struct walk *w = walks.lookup(&slot);
	struct operation_scratch *s = operation_scratch.lookup(&slot);

	if (!w || !s)
		return 0;
	walk_on(ctx, w, PROGRAM_WALK);
	if (w->phase != PHASE_DONE) {
		count(CUT_WALK);
		s->record.walk_cut = 1;
	}
	end_walk(w);
	if (w->top_root) {
		want(OF_CALL, ARGUMENT_MOUNTPOINT, BASE_DENTRY, 0, w->top_mountpoint);
		want(OF_CALL, ARGUMENT_ROOT, BASE_DENTRY, 0, w->top_root);
		programs.call(ctx, PROGRAM_LEAVE_PATHS);
	}
	programs.call(ctx, PROGRAM_FINISH);
	return 0;
}
#endif

int enter_paths(struct enter_context *ctx)
{
	u32 number = ctx->number;
	struct traits *t = traits.lookup(&number);
	u32 slot = t ? t->count : 0;
	struct path_scratch *s = path_scratch.lookup(&slot);

	if (s)
		send_paths(s);
	return 0;
}

int leave_paths(void *ctx)
{
	u32 slot = OF_CALL;
	struct path_scratch *s = path_scratch.lookup(&slot);

	if (!s)
		return 0;
	send_paths(s);
	programs.call(ctx, PROGRAM_FINISH);
	return 0;
}

/* Send what is left to send of a call, its operation record last. */
static __always_inline int send_operation(u32 slot)
{
	struct operation_scratch *s = operation_scratch.lookup(&slot);

	if (!s)
		return 0;
	send_process(slot, &s->record);
	u32 size = sizeof(s->record) + (s->record.strings_size & (2 * STRINGS_SIZE - 1));
	if (size > sizeof(*s))
		return 0;
	if (events.ringbuf_output(s, size, s->wakeup))
		count(LOST_OPERATION);
	else
		count(SENT_OPERATION);
	return 0;
}

int finish(void *ctx)
{
	return send_operation(OF_CALL);
}

int finish_removal(void *ctx)
{
	return send_operation(OF_REMOVAL);
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
		call->child = FIELD(u32, child, TASK_TGID);
		call->child_mntns = FIELD(u64, FIELD(u64, child, TASK_NSPROXY), NSPROXY_MNT_NS);
		call->child_mntns_id = mntns_id(call->child_mntns);
	}
	return 0;
}

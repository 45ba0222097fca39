/* What happens when a call ends. */
#ifndef MNTTRACE_LEAVE_H
#define MNTTRACE_LEAVE_H

/* The mount in the last event of this thread that the recorder's fanotify group has, if it tells
 * what is asked for: where the events of this call end, unless it caused none. Others may have
 * caused some since. The answer is to be checked, as events may be read and freed meanwhile.
 * `all_read` is set if there is no event of this thread. */
static __always_inline u64 last_notified(struct recorder *own, u32 asked, bool *all_read)
{
	*all_read = false;
#ifdef INNER
	return take_last_told(asked);
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
	*all_read = last == head;
#endif
	return 0;
}

#if defined(FANOTIFY_MNT_ID) && !defined(INNER)
/*
 * The last of the mounts detached by this call that nothing holds: its thread frees them on its way
 * to user space, the first one detached first (mntput_no_expire() in fs/namespace.c). Other work can
 * be waiting there, too, and what is read of that is no mount: the answer is to be checked.
 */
static __always_inline u64 last_released(void)
{
	u64 work = FIELD(u64, bpf_get_current_task(), TASK_WORKS), last = 0;
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < WORKS_LOOKED_AT && work; i++) {
		u64 mount = work - MOUNT_WORK;
		u32 flags = FIELD(u32, mount, MOUNT_MNT + VFSMOUNT_FLAGS);

		if ((flags & MNT_UMOUNT) && (flags & MNT_DOOMED))
			last = mount;
		work = FIELD(u64, work, 0);
	}
	return last ? unique_of(last) : 0;
}
#endif

/* Where what fanotify told of this call ends. The recorder may have read that already: it comes
 * before the kernel waits for RCU. */
static __always_inline u64 last_detached(struct recorder *own, u32 *by)
{
	bool all_read;
	u64 unique = last_notified(own, FAN_MNT_DETACH, &all_read);

	*by = BY_EVENT;
#if defined(FANOTIFY_MNT_ID) && !defined(INNER)
	if (!unique) {
		unique = last_released();
		*by = all_read ? BY_RELEASE_READ : BY_RELEASE;
	}
#endif
	return unique;
}

#ifdef CAN_WALK
/* Get ready to list what the call did to mounts; false if there is nothing to list. */
static __always_inline bool begin_list(u32 slot, struct traits *t, struct inflight *call, u64 mntns,
				       s64 result, u32 *cut)
{
	u32 does = t->does;
	u64 flags = call->arguments[3], watermark = 0;

	if (does == SYSCALL_KIND_NAMESPACE) {
		/* The child may have died with its namespace. */
		if (call->child_mntns)
			return mntns_id(call->child_mntns) == call->child_mntns_id &&
			       begin_namespace(slot, call->child_mntns, 0, LIST_BIRTH, call->entered);
		return mntns_id(mntns) != call->mntns_id &&
		       begin_namespace(slot, mntns, 0, LIST_BIRTH, call->entered);
	}
	if (does == SYSCALL_KIND_DESCRIPTOR) {
		/* Since 7.0 open_tree and fsmount can return a new namespace; a path leads to an old one. */
		u64 file = file_of(result);

		return file && !(FIELD(u32, file, FILE_MODE) & FMODE_PATH) &&
		       file_namespace_type(file) == CLONE_NEWNS &&
		       begin_namespace(slot, file_mntns(file), 0, LIST_BIRTH, call->entered);
	}
	if (does == SYSCALL_KIND_MOVE_MOUNT && call->moved)
		return begin_tree(slot, call->moved, call->watermark, call->entered);
	if (call->target && unique_of(call->target) == call->target_unique &&
	    settings_of(call->target) != call->target_settings)
		return begin_changed(slot, call->target, mntns, call->entered);
	/* In the order in which path_mount() in fs/namespace.c looks at the flags. */
	if (does == SYSCALL_KIND_MOUNT && !(flags & MS_REMOUNT) &&
	    (flags & MS_BIND || !(flags & (MS_PROPAGATION | MS_MOVE))))
		return begin_namespace(slot, mntns, call->watermark, LIST_MADE, call->entered);
	if (does == SYSCALL_KIND_UMOUNT) {
		if (call->watched)
			return false;
	} else if (does == SYSCALL_KIND_MOVE_MOUNT ||
		   (does == SYSCALL_KIND_MOUNT && !(flags & (MS_REMOUNT | MS_PROPAGATION)))) {
		watermark = call->watermark;
	} else if (does == SYSCALL_KIND_MOUNT) {
		/* Changes what is there. */
	} else if (does == SYSCALL_KIND_RECONFIGURE) {
		if (call->arguments[1] != FSCONFIG_CMD_RECONFIGURE)
			return false;
	} else if (does != SYSCALL_KIND_PIVOT && does != SYSCALL_KIND_SETATTR) {
		return false;
	}
	if (!watermark && FIELD(u32, mntns, MNT_NS_COUNT) > LIST_LIMIT) {
		*cut = 1;
		return false;
	}
	return begin_namespace(slot, mntns, watermark, LIST_AFTER, call->entered);
}
#endif

static __always_inline int leave_call(struct exit_context *ctx, u32 row)
{
	u64 thread = bpf_get_current_pid_tgid();
	u32 number = ctx->number, zero = 0, slot = OF_CALL(row);
	s64 result = ctx->result;
	struct traits *t = traits.lookup(&number);
	struct inflight *call = inflight.lookup(&thread);
	struct operation_scratch *s = operation_scratch.lookup(&slot);
	struct path_scratch *paths = path_scratch.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);
	u32 i;

	if (!t || !s || !paths || !own || thread >> 32 == own->pid)
		return 0;
	if (!call) {
		/* A call that began before the probes were there; or another row has told it. */
		if (t->always && !row)
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
	if (t->fetch[0] != ARG_KIND_CLONE_ARGS && !call->child && !t->always) {
		r->mntns_target = result == 0 ? r->mntns_after : call->target_mntns;
		r->mntns_id_target = result == 0 ? r->mntns_id_after : 0;
	}
	r->last_detached = r->last_detached_known_by = 0;
	if (t->does == SYSCALL_KIND_UMOUNT && !result)
		r->last_detached = last_detached(own, &r->last_detached_known_by);
	r->walk_cut = 0;
	r->attr_size = 0;
	__builtin_memset(r->attr, 0, sizeof(r->attr));
	__builtin_memcpy(r->arguments, call->arguments, sizeof(r->arguments));
	__builtin_memset(r->lengths, 0, sizeof(r->lengths));
#pragma clang loop unroll(disable)
	for (i = 0; i < 5; i++)
		fetch_argument(s, t, i);
	if (t->fetch[0] == ARG_KIND_CLONE_ARGS && !(r->attr[0] & CLONE_NEWNS)) {
		inflight.delete(&thread);
		return 0;
	}
	fill_caller(r);
	paths->count = 0;
	paths->entered = r->entered;
	s->wakeup = BPF_RB_NO_WAKEUP;
#ifdef CAN_WALK
	bool list = result >= 0 && begin_list(slot, t, call, mntns, result, &r->walk_cut);

	bool all_read;

	if (list && call->watermark)
		expect(slot, last_notified(own, FAN_MNT_ATTACH, &all_read));
	/* Who was born may be gone soon. */
	if (list && (t->does == SYSCALL_KIND_NAMESPACE || t->does == SYSCALL_KIND_DESCRIPTOR))
		s->wakeup = BPF_RB_FORCE_WAKEUP;
	inflight.delete(&thread);
	if (list)
		programs.call(ctx, OF_ROW(PROGRAM_WALK, row));
#else
	inflight.delete(&thread);
#endif
	if (t->does == SYSCALL_KIND_DESCRIPTOR && result >= 0) {
#ifdef CAN_WALK
		remember_detached(result);
#endif
		want(slot, ARGUMENT_RESULT, BASE_DESCRIPTOR, result, 0);
		programs.call(ctx, OF_ROW(PROGRAM_LEAVE_PATHS, row));
	}
	programs.call(ctx, OF_ROW(PROGRAM_FINISH, row));
	return 0;
}

#if defined(FANOTIFY_MNT_ID) || defined(INNER)
/* Removing and renaming: there is nothing to see when they begin, and mostly nothing at the end. */
static __always_inline int leave_removal(struct exit_context *ctx, u32 row)
{
	u32 zero = 0, slot = OF_REMOVAL(row);
	struct operation_scratch *s = operation_scratch.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);

	if (!s || !own || ctx->result)
		return 0;
	u32 by;
	u64 notified = last_detached(own, &by);

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
	r->last_detached = notified;
	r->last_detached_known_by = by;
	fill_caller(r);
	s->wakeup = BPF_RB_NO_WAKEUP;
	programs.call(ctx, OF_ROW(PROGRAM_FINISH_REMOVAL, row));
	return 0;
}
#endif

#ifdef CAN_WALK
static __always_inline void count_cut(struct walk *w)
{
	count(w->phase == PHASE_ASTRAY ? CUT_INCONSISTENT : CUT_WALK);
}

/* Whether it did not come by what inner probes told that the call attached, to its
 * end or after it began anew. What fanotify tells may be of an event that was freed. */
static __always_inline bool misses_what_was_told(struct walk *w)
{
#ifdef INNER
	return w->expected && !w->met && (w->phase == PHASE_DONE || w->restarts);
#else
	return false;
#endif
}

/* Goes on with a walk until it is at an end: by tail call to this program, if need be. */
static __always_inline void walk_on(void *ctx, struct walk *w, u32 program)
{
	if (!go_on(w))
		programs.call(ctx, program);
}

/* A walk for the recorder, begun by enter. */
static __always_inline int survey_namespace(void *ctx)
{
	u32 zero = 0, slot = OF_SURVEY;
	struct walk *w = walks.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);

	if (!w || !own)
		return 0;
	walk_on(ctx, w, PROGRAM_SURVEY);
	/* One that is only too long is asked for again, until it is whole. */
	own->listed = w->phase != PHASE_DONE && w->phase != PHASE_ASTRAY ? place_of(w) : 0;
	if (w->phase != PHASE_DONE && !own->listed)
		count_cut(w);
	end_walk(w);
	return 0;
}

/* A walk after a call, begun by leave. */
static __always_inline int walk_mounts(void *ctx, u32 row)
{
	u32 slot = OF_CALL(row);
	struct walk *w = walks.lookup(&slot);
	struct operation_scratch *s = operation_scratch.lookup(&slot);

	if (!w || !s)
		return 0;
	walk_on(ctx, w, OF_ROW(PROGRAM_WALK, row));
	if (misses_what_was_told(w)) {
		count(LOST_MADE);
		s->record.walk_cut = 1;
	} else if (w->phase != PHASE_DONE) {
		count_cut(w);
		s->record.walk_cut = 1;
	}
	end_walk(w);
	if (w->top_root) {
		want(slot, ARGUMENT_MOUNTPOINT, BASE_DENTRY, 0, w->top_mountpoint);
		want(slot, ARGUMENT_ROOT, BASE_DENTRY, 0, w->top_root);
		programs.call(ctx, OF_ROW(PROGRAM_LEAVE_PATHS, row));
	}
	programs.call(ctx, OF_ROW(PROGRAM_FINISH, row));
	return 0;
}
#endif

/* Send the paths that are left to send, and then what is. */
static __always_inline int send_leave_paths(void *ctx, u32 row)
{
	u32 slot = OF_CALL(row);
	struct path_scratch *s = path_scratch.lookup(&slot);

	if (s && send_path(s))
		programs.call(ctx, OF_ROW(PROGRAM_LEAVE_PATHS, row));
	programs.call(ctx, OF_ROW(PROGRAM_FINISH, row));
	return 0;
}

/* Send what is left to send of a call, its operation record last. */
static __always_inline int send_operation(void *ctx, u32 slot)
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
#endif

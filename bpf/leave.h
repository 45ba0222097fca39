/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* What happens when a call ends. */
#ifndef MNTTRACE_LEAVE_H
#define MNTTRACE_LEAVE_H

/* The mount of this thread's last event, if that is of the type `asked`; else 0. The events of this
 * call end there, unless it caused none. Hooks have noted it; without them it is looked for in the
 * queue of the recorder's fanotify group, which is read without its lock: what was found may come
 * from an event that was freed meanwhile, so the answer is to be checked. `all_read` is set if no
 * event of this thread is in the queue. */
static __always_inline u64 last_event(struct recorder *own, u32 asked, bool *all_read)
{
	*all_read = false;
#ifdef HOOKS
	return take_last_event(asked);
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

			/* With both bits it was moved. */
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

#if defined(FANOTIFY_MNT_ID) && !defined(HOOKS)
/*
 * The last mount that this call detached and that nobody uses. The thread frees such mounts on its
 * way to user space, as a task_work each; the one that was detached last is the last of them
 * (mntput_no_expire() in fs/namespace.c). Other task_works are there, too, which are no part of a
 * mount: the answer is to be checked.
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

/* The last mount that this call detached, and how that is known (BY_). The recorder may have read
 * its event already: umount(2) waits for RCU after it (namespace_unlock() in fs/namespace.c). */
static __always_inline void note_last_detached(struct recorder *own, struct operation_record *r)
{
	bool all_read;

	r->last_detached = last_event(own, FAN_MNT_DETACH, &all_read);
	r->last_detached_known_by = BY_EVENT;
	r->last_released = 0;
#if defined(FANOTIFY_MNT_ID) && !defined(HOOKS)
	r->last_released = last_released();
	if (!r->last_detached) {
		r->last_detached = r->last_released;
		r->last_detached_known_by = all_read ? BY_RELEASE_READ : BY_RELEASE;
	}
#endif
}

#ifdef CAN_WALK
/* Get ready to list what the call did to mounts; false if there is nothing to list. */
static __always_inline bool begin_list(u32 slot, struct traits *t, struct inflight *call, u64 mntns,
				       s64 result, u32 *cut)
{
	u32 kind = t->kind;
	u64 flags = call->arguments[3], watermark = 0;

	if (kind == SYSCALL_KIND_NAMESPACE) {
		/* The child and its namespace may be gone. */
		if (call->child_mntns)
			return mntns_id(call->child_mntns) == call->child_mntns_id &&
			       begin_namespace(slot, call->child_mntns, 0, LIST_BIRTH, call->entered);
		return mntns_id(mntns) != call->mntns_id &&
		       begin_namespace(slot, mntns, 0, LIST_BIRTH, call->entered);
	}
	if (kind == SYSCALL_KIND_DESCRIPTOR) {
		/* From 7.0 on open_tree and fsmount can return a new mount namespace. With O_PATH
		 * it is one that was there. */
		u64 file = file_of(result);

		return file && !(FIELD(u32, file, FILE_MODE) & FMODE_PATH) &&
		       file_namespace_type(file) == CLONE_NEWNS &&
		       begin_namespace(slot, file_mntns(file), 0, LIST_BIRTH, call->entered);
	}
	if (kind == SYSCALL_KIND_MOVE_MOUNT && call->moved)
		return begin_tree(slot, call->moved, call->watermark, call->entered);
	if (call->target && unique_of(call->target) == call->target_unique &&
	    settings_of(call->target) != call->target_settings)
		return begin_changed(slot, call->target, mntns, call->entered);
	/* In the order in which path_mount() in fs/namespace.c looks at the flags. */
	if (kind == SYSCALL_KIND_MOUNT && !(flags & MS_REMOUNT) &&
	    (flags & MS_BIND || !(flags & (MS_PROPAGATION | MS_MOVE))))
		return begin_namespace(slot, mntns, call->watermark, LIST_MADE, call->entered);
	if (kind == SYSCALL_KIND_UMOUNT) {
		if (call->watched)
			return false;
	} else if (kind == SYSCALL_KIND_MOVE_MOUNT ||
		   (kind == SYSCALL_KIND_MOUNT && !(flags & (MS_REMOUNT | MS_PROPAGATION)))) {
		watermark = call->watermark;
	} else if (kind == SYSCALL_KIND_MOUNT) {
		/* It changes mounts that are there. */
	} else if (kind == SYSCALL_KIND_RECONFIGURE) {
		if (call->arguments[1] != FSCONFIG_CMD_RECONFIGURE)
			return false;
	} else if (kind != SYSCALL_KIND_PIVOT && kind != SYSCALL_KIND_SETATTR) {
		return false;
	}
	if (!watermark && FIELD(u32, mntns, MNT_NS_COUNT) > LIST_LIMIT) {
		*cut = 1;
		return false;
	}
	return begin_namespace(slot, mntns, watermark, LIST_AFTER, call->entered);
}
#endif

static __always_inline int leave_call(struct exit_context *ctx, u32 level)
{
	u64 thread = bpf_get_current_pid_tgid();
	u32 number = NUMBER_OF(ctx, level), zero = 0, slot = OF_CALL(level);
	s64 result = number < COMPAT_CALLS ? RESULT_OF(ctx) : (s32)RESULT_OF(ctx);
	struct traits *t = traits.lookup(&number);
	struct inflight *call = inflight.lookup(&thread);
	struct operation_scratch *s = operation_scratch.lookup(&slot);
	struct path_scratch *paths = path_scratch.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);
	u32 i;

	if (IS_COMPAT(level) && !is_in_compat_call())
		return 0;
	if (!t || !s || !paths || !own || thread >> 32 == own->pid)
		return 0;
	if (call && call->number != number) {
		/* The end of that one was not seen, nor the beginning of this one. */
		count(LOST_RUN);
		inflight.delete(&thread);
		call = NULL;
	}
	if (!call) {
		/* It began before the recorder; or an earlier level has sent it. */
		if (t->always_recorded && !IS_RETRY(level))
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
	if (t->arg_kinds[0] != ARG_KIND_CLONE_ARGS && !call->child && !t->always_recorded) {
		r->mntns_target = result == 0 ? r->mntns_after : call->target_mntns;
		r->mntns_id_target = result == 0 ? r->mntns_id_after : 0;
	}
	r->last_detached = r->last_released = r->last_detached_known_by = 0;
	if (t->kind == SYSCALL_KIND_UMOUNT && !result) {
		note_last_detached(own, r);
		/* What had been read of the queue by then was read before this. */
		r->left = bpf_ktime_get_ns();
	}
	r->walk_cut = 0;
	r->attr_size = 0;
	__builtin_memset(r->attr, 0, sizeof(r->attr));
	__builtin_memcpy(r->arguments, call->arguments, sizeof(r->arguments));
	__builtin_memset(r->lengths, 0, sizeof(r->lengths));
#pragma clang loop unroll(disable)
	for (i = 0; i < 5; i++)
		fetch_argument(s, t, i);
	if (t->arg_kinds[0] == ARG_KIND_CLONE_ARGS && !(r->attr[0] & CLONE_NEWNS)) {
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
		expect(slot, last_event(own, FAN_MNT_ATTACH, &all_read));
	/* A new namespace may end soon: the recorder is to look at once. */
	if (list && (t->kind == SYSCALL_KIND_NAMESPACE || t->kind == SYSCALL_KIND_DESCRIPTOR)) {
		s->wakeup = BPF_RB_FORCE_WAKEUP;
		add_listed(slot);
	}
	s->looks_elsewhere = t->kind == SYSCALL_KIND_UMOUNT && !result;
	if (s->looks_elsewhere) {
		look_at_unwatched(slot);
		list = list || begin_unwatched(slot, call->entered, call->entered);
	}
	inflight.delete(&thread);
	if (list)
		programs.call(ctx, AT_LEVEL(PROGRAM_WALK, level));
#else
	inflight.delete(&thread);
#endif
	if (t->kind == SYSCALL_KIND_DESCRIPTOR && result >= 0) {
#ifdef CAN_WALK
		remember_detached(result);
#endif
		want_path(slot, ARGUMENT_RESULT, BASE_DESCRIPTOR, result, 0);
		programs.call(ctx, AT_LEVEL(PROGRAM_LEAVE_PATHS, level));
	}
	programs.call(ctx, AT_LEVEL(PROGRAM_FINISH, level));
	return 0;
}

#if defined(FANOTIFY_MNT_ID) || defined(HOOKS)
/* A file was removed or renamed: recorded if mounts on it were detached. */
static __always_inline int leave_removal(struct exit_context *ctx, u32 level)
{
	u32 zero = 0, slot = OF_REMOVAL(level);
	struct operation_scratch *s = operation_scratch.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);

	if (!s || !own || RESULT_OF(ctx))
		return 0;
	struct operation_record *r = &s->record;

	note_last_detached(own, r);
	u64 entered = bpf_ktime_get_ns(), detached = r->last_detached, released = r->last_released;
	u32 by = r->last_detached_known_by;

	look_at_unwatched(slot);
	bool is_listed = begin_unwatched(slot, AT_ANY_TIME, entered);

	if (!detached && !is_listed)
		return 0;
	u64 mntns = current_mntns();

	__builtin_memset(r, 0, sizeof(*r));
	r->kind = RECORD_OPERATION;
	r->number = NUMBER_OF(ctx, level);
	r->entered = r->left = entered;
	r->mntns_before = r->mntns_after = mntns_inode(mntns);
	r->mntns_id_before = r->mntns_id_after = mntns_id(mntns);
	r->last_detached = detached;
	r->last_released = released;
	r->last_detached_known_by = by;
	fill_caller(r);
	s->wakeup = BPF_RB_NO_WAKEUP;
	if (is_listed)
		programs.call(ctx, PROGRAM_WALK_REMOVAL);
	programs.call(ctx, AT_LEVEL(PROGRAM_FINISH_REMOVAL, level));
	return 0;
}
#endif

#ifdef CAN_WALK
static __always_inline void count_cut(struct walk *w)
{
	count(w->phase == PHASE_INCONSISTENT ? CUT_INCONSISTENT : CUT_WALK);
}

/* Whether a walk that is complete, or was begun anew, did not meet the mount that the call attached
 * last, as hooks noted. What fanotify's queue gave may be of an event that was freed. */
static __always_inline bool misses_expected(struct walk *w)
{
#ifdef HOOKS
	return w->expected && !w->met && (w->phase == PHASE_DONE || w->restarts);
#else
	return false;
#endif
}

/* Continue a walk up to its end: by tail call to this program, if need be. */
static __always_inline void walk_to_end(void *ctx, struct walk *w, u32 program)
{
	if (!continue_walk(w))
		programs.call(ctx, program);
}

/* A walk that the recorder asked for, begun by serve_recorder(). */
static __always_inline int survey_namespace(void *ctx)
{
	u32 zero = 0, slot = OF_SURVEY;
	struct walk *w = walks.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);

	if (!w || !own)
		return 0;
	walk_to_end(ctx, w, PROGRAM_SURVEY);
	/* If it is only too long, the recorder asks again until the list is complete. */
	own->listed = w->phase != PHASE_DONE && w->phase != PHASE_INCONSISTENT ? position_of(w) : 0;
	if (w->phase != PHASE_DONE && !own->listed)
		count_cut(w);
	end_walk(w);
	if (w->lost)
		own->listed = 0; /* It cannot become complete. */
	return 0;
}

/* The end of the list of a namespace that nobody reports of yet. */
static __always_inline void end_unwatched(struct walk *w)
{
	if (w->phase != PHASE_DONE)
		count(CUT_UNWATCHED);
	end_walk(w);
}

/* The end of a call's own list. */
static __always_inline void end_list(struct walk *w, struct operation_scratch *s)
{
	if (misses_expected(w)) {
		count(LOST_MADE);
		s->record.walk_cut = 1;
	} else if (w->phase != PHASE_DONE) {
		count_cut(w);
		s->record.walk_cut = 1;
	}
	end_walk(w);
	if (w->lost)
		s->record.walk_cut = 1;
}

/* A walk after a call, begun by leave_call(). */
static __always_inline int walk_mounts(void *ctx, u32 slot, u32 level)
{
	struct walk *w = walks.lookup(&slot);
	struct operation_scratch *s = operation_scratch.lookup(&slot);

	if (!w || !s)
		return 0;
	walk_to_end(ctx, w, AT_LEVEL(PROGRAM_WALK, level));
#ifdef LISTS_UNWATCHED
	if (w->unwatched)
		end_unwatched(w);
	else
		end_list(w, s);
	if (s->looks_elsewhere &&
	    begin_unwatched(slot, s->record.entered, s->record.entered))
		programs.call(ctx, AT_LEVEL(PROGRAM_WALK, level));
#else
	end_list(w, s);
#endif
	if (w->top_root) {
		want_path(slot, ARGUMENT_MOUNTPOINT, BASE_DENTRY, 0, w->top_mountpoint);
		want_path(slot, ARGUMENT_ROOT, BASE_DENTRY, 0, w->top_root);
		programs.call(ctx, AT_LEVEL(PROGRAM_LEAVE_PATHS, level));
	}
	programs.call(ctx, AT_LEVEL(PROGRAM_FINISH, level));
	return 0;
}

#ifdef LISTS_UNWATCHED
/* A walk after a removal, begun by leave_removal(). */
static __always_inline int walk_unwatched(void *ctx)
{
	u32 slot = OF_REMOVAL(0);
	struct walk *w = walks.lookup(&slot);
	struct operation_scratch *s = operation_scratch.lookup(&slot);

	if (!w || !s)
		return 0;
	walk_to_end(ctx, w, PROGRAM_WALK_REMOVAL);
	end_unwatched(w);
	if (begin_unwatched(slot, AT_ANY_TIME, s->record.entered))
		programs.call(ctx, PROGRAM_WALK_REMOVAL);
	programs.call(ctx, AT_LEVEL(PROGRAM_FINISH_REMOVAL, 0));
	return 0;
}
#endif
#endif

/* Send the paths that are wanted, one in each program, and then the operation. */
static __always_inline int send_leave_paths(void *ctx, u32 level)
{
	u32 slot = OF_CALL(level);
	struct path_scratch *s = path_scratch.lookup(&slot);

	if (s && send_path(s))
		programs.call(ctx, AT_LEVEL(PROGRAM_LEAVE_PATHS, level));
	programs.call(ctx, AT_LEVEL(PROGRAM_FINISH, level));
	return 0;
}

/* Send the calling process, and last the operation record, so that all before it is complete. */
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

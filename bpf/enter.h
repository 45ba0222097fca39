/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* What happens when a call begins. */
#ifndef MNTTRACE_ENTER_H
#define MNTTRACE_ENTER_H

/* Answer the recorder; see struct recorder. */
static __always_inline void serve_recorder(void *ctx, struct recorder *own, u64 descriptor,
					   u64 asked)
{
	if (asked == ASK_THREAD) {
		own->is_in_call = inflight.lookup(&descriptor) != NULL;
		return;
	}
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
#ifdef LISTS_UNWATCHED
		end_as_unwatched(id);
#endif
		return;
	}
#ifdef CAN_WALK
	if (begin_namespace(OF_SURVEY, file_mntns(file), 0, LIST_SURVEY, 0)) {
		if (own->listed)
			continue_after(own->listed);
		programs.call(ctx, PROGRAM_SURVEY);
	}
#endif
}

/* Whether a copy of a program at an earlier level has done the work of this one. The last level
 * forgets that. */
static __always_inline bool is_done(struct recorder *own, u64 thread, u32 level)
{
	struct inflight *call = inflight.lookup(&thread);
	bool done;

	if (thread >> 32 == own->pid) {
		done = own->is_served;
		if (IS_LAST(level))
			own->is_served = 0;
		return done;
	}
	done = call && call->is_fresh;
	if (done && IS_LAST(level))
		call->is_fresh = 0;
	return done;
}

/* A call begins: keep it until its end, and send what its paths begin at. */
static __always_inline int enter_call(struct enter_context *ctx, u32 level)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct inflight call = {};
	u32 number = NUMBER_OF(ctx, level), zero = 0, i;
	struct traits *t = traits.lookup(&number);

	if (!t)
		return 0;
	u32 slot = OF_ENTER(t->count, level);
	struct arguments *given = arguments.lookup(&slot);
	struct recorder *own = recorder.lookup(&zero);
	struct path_scratch *s = path_scratch.lookup(&slot);

	if (!given || !own || !s || (IS_RETRY(level) && is_done(own, thread, level)))
		return 0;
	if (thread >> 32 == own->pid) {
		own->is_served = !IS_LAST(level);
		if (t->arg_kinds[0] == ARG_KIND_DESCRIPTOR && !t->always_recorded)
			serve_recorder(ctx, own, given->value[0], given->value[1]);
		return 0;
	}
	if (!t->always_recorded && !concerns_mount_namespace(t, given->value, &call.target_mntns))
		return 0;
	u64 mntns = current_mntns();
	send_all_ended(slot);
	call.entered = bpf_ktime_get_ns();
	call.number = number;
	__builtin_memcpy(call.arguments, given->value, sizeof(call.arguments));
	call.mntns = mntns_inode(mntns);
	call.mntns_id = mntns_id(mntns);
	/* Asked now: if it comes to be watched during the call, fanotify may not report all. */
#ifdef HOOKS
	call.watched = 1;
#else
	call.watched = t->kind == SYSCALL_KIND_UMOUNT && watched.lookup(&call.mntns_id);
#endif
#ifdef CAN_WALK
	if (t->kind == SYSCALL_KIND_MOUNT || t->kind == SYSCALL_KIND_MOVE_MOUNT)
		call.watermark = newest_of(mntns);
	if (t->kind == SYSCALL_KIND_MOVE_MOUNT && given->value[4] & MOVE_MOUNT_F_EMPTY_PATH) {
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
			want_path(slot, i, base, descriptor, 0);
#ifdef CAN_WALK
		if (i == 1 && is_all &&
		    (t->kind == SYSCALL_KIND_MOUNT || t->kind == SYSCALL_KIND_SETATTR)) {
			u64 mount = mount_at(base, descriptor);

			if (mount && changes_target_alone(t->kind, given->value, mount)) {
				call.target = mount;
				call.target_unique = unique_of(mount);
				call.target_settings =
					base == BASE_PROC_FD ? settings_of(mount) : 0;
			}
		}
#endif
	}
	if (is_in_chroot())
		want_path(slot, ARGUMENT_CHROOT, BASE_ROOT, 0, 0);
	call.is_fresh = !IS_LAST(level);
	int failed = inflight.insert(&thread, &call);

	if (failed == -EEXIST) {
		count(LOST_RUN);
		failed = inflight.update(&thread, &call);
	}
	if (failed) {
		count(LOST_INFLIGHT);
		return 0;
	}
	if (s->count)
		programs.call(ctx, AT_LEVEL(PROGRAM_ENTER_PATHS, level));
	return 0;
}

/* Keep the arguments for enter_call(), and go on there. */
static __always_inline int pass_on(struct enter_context *ctx, u32 count, u32 level,
				   struct arguments *given)
{
	u32 slot = OF_ENTER(count, level);

	arguments.update(&slot, given);
	programs.call(ctx, AT_LEVEL(PROGRAM_ENTER, level));
	return 0;
}

#ifdef CALLS_BY_FUNCTION
/* A traced call begins: keep its arguments, as above. */
static __always_inline int pass_on_function(struct enter_context *ctx, u32 level)
{
	u32 number = NUMBER_OF(ctx, level), i;
	struct traits *t = traits.lookup(&number);
	u64 user = ctx->registers[REGISTER_OF_0 / 8];
	struct arguments given = {};

	if (!t || !t->count)
		return 0;
	if (number < COMPAT_CALLS) {
		given.value[0] = FIELD(u64, user, CALL_ARGUMENT_0);
		given.value[1] = FIELD(u64, user, CALL_ARGUMENT_1);
		given.value[2] = FIELD(u64, user, CALL_ARGUMENT_2);
		given.value[3] = FIELD(u64, user, CALL_ARGUMENT_3);
		given.value[4] = FIELD(u64, user, CALL_ARGUMENT_4);
	}
#ifdef COMPAT_ARGUMENT_0
	else {
		given.value[0] = FIELD(u32, user, COMPAT_ARGUMENT_0);
		given.value[1] = FIELD(u32, user, COMPAT_ARGUMENT_1);
		given.value[2] = FIELD(u32, user, COMPAT_ARGUMENT_2);
		given.value[3] = FIELD(u32, user, COMPAT_ARGUMENT_3);
		given.value[4] = FIELD(u32, user, COMPAT_ARGUMENT_4);
		if (number == COMPAT_CALLS + COMPAT_OLDUMOUNT)
			given.value[1] = 0;
	}
#endif
#pragma clang loop unroll(full)
	for (i = 0; i < 5; i++)
		if (i >= t->count)
			given.value[i] = 0;
	return pass_on(ctx, t->count, level, &given);
}
#endif

#ifdef COMPAT
/* Any call of any process begins: of 32-bit ones that are traced, keep the arguments as above. */
static __always_inline int pass_on_compat(struct enter_context *ctx, u32 level)
{
	u32 number = NUMBER_OF(ctx, level), i;
	struct traits *t = is_in_compat_call() ? traits.lookup(&number) : NULL;
	struct arguments given = {};

	if (!t || !t->count)
		return 0;
#pragma clang loop unroll(full)
	for (i = 0; i < 5; i++)
		if (i < t->count)
			given.value[i] = (u32)ctx->arguments[i];
	if (ctx->number == COMPAT_OLDUMOUNT)
		given.value[1] = 0;
	return pass_on(ctx, t->count, level, &given);
}
#endif

static __always_inline int send_enter_paths(struct enter_context *ctx, u32 level)
{
	u32 number = NUMBER_OF(ctx, level);
	struct traits *t = traits.lookup(&number);
	u32 slot = t ? OF_ENTER(t->count, level) : SLOTS;
	struct path_scratch *s = path_scratch.lookup(&slot);

	if (s && send_path(s))
		programs.call(ctx, AT_LEVEL(PROGRAM_ENTER_PATHS, level));
	return 0;
}
#endif

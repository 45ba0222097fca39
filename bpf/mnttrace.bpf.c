// SPDX-FileCopyrightText: The mnttrace authors
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

/*
 * Programs on the tracepoints where the traced system calls begin and end. Of each call they send
 * what it was given and returned, what its relative paths and descriptors lead to, who made it, and
 * the mounts that it made.
 *
 * There is one enter program for each number of arguments, since the kernel refuses one that reads
 * more of them than the call has, and one exit program for all calls. What the arguments are is in
 * the map `traits`, which is filled from mnttrace/linux/syscalls.py. Offsets into kernel structs,
 * such as TASK_NSPROXY, come from BTF as definitions on the compiler's command line.
 *
 * The programs go on by tail call, so that the verifier looks at each part alone:
 *
 *   enter_N → enter → enter_paths → …
 *   leave → walk → walk → … → leave_paths → … → finish
 *   leave_remove → walk_removal → … → finish_removal
 *
 * Where they can be, programs are on the functions of the calls in place of tracepoints, and there
 * is one enter program, enter_function: see calls.h.
 *
 * On some kernels each program is attached four times, as NAME and NAME_retry1 to 3: see calls.h.
 *
 * A system call's tracepoint does not see the calls of 32-bit programs. For these there is, on
 * request, enter_any, and all behind it once more, as NAME_compat: on the tracepoints of all calls.
 */
#include "records.h"
#include "kernel.h"
#include "identity.h"
#include "calls.h"
#include "path.h"
#include "list.h"
#include "steps.h"
#include "propagation.h"
#include "unwatched.h"
#include "hooks.h"
#include "arguments.h"
#include "caller.h"
#include "enter.h"
#include "leave.h"

#define A(n) ctx->arguments[n]
#define ENTER(n, suffix, level, ...)                                                               \
	int enter_##n##suffix(struct enter_context *ctx)                                           \
	{                                                                                          \
		struct arguments given = {{__VA_ARGS__}};                                          \
                                                                                                   \
		return pass_on(ctx, n, level, &given);                                             \
	}
#define PROGRAM(name, context, call, ...)                                                          \
	int name(struct context *ctx)                                                              \
	{                                                                                          \
		return call(ctx, ##__VA_ARGS__);                                                   \
	}

#ifdef CALLS_BY_FUNCTION
#define LEVEL(suffix, level)                                                                       \
	PROGRAM(enter_function##suffix, enter_context, pass_on_function, level)                    \
	BEHIND(suffix, level)
#else
#define LEVEL(suffix, level)                                                                       \
	ENTER(1, suffix, level, A(0))                                                              \
	ENTER(2, suffix, level, A(0), A(1))                                                        \
	ENTER(3, suffix, level, A(0), A(1), A(2))                                                  \
	ENTER(4, suffix, level, A(0), A(1), A(2), A(3))                                            \
	ENTER(5, suffix, level, A(0), A(1), A(2), A(3), A(4))                                      \
	BEHIND(suffix, level)
#endif
#define BEHIND(suffix, level)                                                                      \
	PROGRAM(enter##suffix, enter_context, enter_call, level)                                   \
	PROGRAM(enter_paths##suffix, enter_context, send_enter_paths, level)                       \
	PROGRAM(leave##suffix, exit_context, leave_call, level)                                    \
	PROGRAM(leave_paths##suffix, exit_context, send_leave_paths, level)                        \
	PROGRAM(finish##suffix, exit_context, send_operation, OF_CALL(level))

#ifdef CAN_WALK
#define WALK(suffix, level)                                                                        \
	PROGRAM(walk##suffix, exit_context, walk_mounts, OF_CALL(level), level)
PROGRAM(survey, enter_context, survey_namespace)
#else
#define WALK(suffix, level)
#endif

/* For calls that remove and rename files, which are looked at only when they end. */
#define REMOVALS(suffix, level)                                                                    \
	PROGRAM(leave_remove##suffix, exit_context, leave_removal, level)                          \
	PROGRAM(finish_removal##suffix, exit_context, send_operation, OF_REMOVAL(level))
#if defined(FANOTIFY_MNT_ID) || defined(HOOKS)
REMOVALS(, 0)
#endif
#ifdef LISTS_UNWATCHED
PROGRAM(walk_removal, exit_context, walk_unwatched)
#endif
/* Retries see whether an earlier copy was skipped by what hooks have noted, which that takes. An
 * event of fanotify stays in its queue, and the removal would be sent again. */
#ifdef HOOKS
#define RETRY_REMOVALS(suffix, level) REMOVALS(suffix, level)
#else
#define RETRY_REMOVALS(suffix, level)
#endif

LEVEL(, 0)
WALK(, 0)
#if RETRY_LEVELS > 1
LEVEL(_retry1, 1)
WALK(_retry1, 1)
RETRY_REMOVALS(_retry1, 1)
#endif
#if RETRY_LEVELS > 2
LEVEL(_retry2, 2)
WALK(_retry2, 2)
RETRY_REMOVALS(_retry2, 2)
#endif
#if RETRY_LEVELS > 3
LEVEL(_retry3, 3)
WALK(_retry3, 3)
RETRY_REMOVALS(_retry3, 3)
#endif

#ifdef COMPAT
#define COMPAT_LEVEL(suffix, level)                                                                \
	PROGRAM(enter_any##suffix, enter_context, pass_on_compat, level)                           \
	BEHIND(suffix, level)                                                                      \
	WALK(suffix, level)
COMPAT_LEVEL(_compat, RETRY_LEVELS)
#if RETRY_LEVELS > 1
COMPAT_LEVEL(_compat_retry1, RETRY_LEVELS + 1)
#endif
#if RETRY_LEVELS > 2
COMPAT_LEVEL(_compat_retry2, RETRY_LEVELS + 2)
#endif
#if RETRY_LEVELS > 3
COMPAT_LEVEL(_compat_retry3, RETRY_LEVELS + 3)
#endif
#endif

/* sched_process_fork: the child of a clone or clone3 and its mount namespace, before it runs. */
int fork(struct bpf_raw_tracepoint_args *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 child = ctx->args[1];
	struct inflight *call = inflight.lookup(&thread);
	u32 pid = thread >> 32;

	if (followed.lookup(&pid)) {
		u32 child_pid = FIELD(u32, child, TASK_TGID);
		u8 one = 1;

		if (pid != child_pid)
			followed.update(&child_pid, &one);
	}
	if (call) {
		call->child = FIELD(u32, child, TASK_TGID);
		call->child_mntns = FIELD(u64, FIELD(u64, child, TASK_NSPROXY), NSPROXY_MNT_NS);
		call->child_mntns_id = mntns_id(call->child_mntns);
	}
	return 0;
}

/* sched_process_exit */
int end_thread(struct bpf_raw_tracepoint_args *ctx)
{
	note_end_of_thread();
	return 0;
}

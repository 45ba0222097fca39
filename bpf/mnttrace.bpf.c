/*
 * Enter and exit handlers of the traced syscalls: one record an operation, and with it where its
 * paths lead, who made it, and the mounts that it made.
 *
 * One enter program for each number of arguments, because a handler that reads more of them than
 * the call has is refused, and one exit program for all. What a call's arguments are is asked of
 * the map `traits`, which mnttrace/probes/kernel.py fills from mnttrace/linux/syscalls.py.
 * Offsets into kernel structs (TASK_NSPROXY …) come from BTF as definitions on the command line.
 *
 *   enter_N → enter → enter_paths → …
 *   leave → walk → walk → … → leave_paths → … → finish
 *
 * Where a program may be missed there are more rows of them, …_again1 to 3: see calls.h.
 */
#include "records.h"
#include "kernel.h"
#include "identity.h"
#include "calls.h"
#include "path.h"
#include "list.h"
#include "steps.h"
#include "propagation.h"
#include "inner.h"
#include "arguments.h"
#include "caller.h"
#include "enter.h"
#include "leave.h"

#define A(n) ctx->arguments[n]
#define ENTER(n, suffix, row, ...)                                                                 \
	int enter_##n##suffix(struct enter_context *ctx)                                           \
	{                                                                                          \
		struct arguments given = {{__VA_ARGS__}};                                          \
                                                                                                   \
		return pass_on(ctx, n, row, &given);                                               \
	}
#define PROGRAM(name, context, call, ...)                                                          \
	int name(struct context *ctx)                                                              \
	{                                                                                          \
		return call(ctx, ##__VA_ARGS__);                                                   \
	}

#define ROW(suffix, row)                                                                           \
	ENTER(1, suffix, row, A(0))                                                                \
	ENTER(2, suffix, row, A(0), A(1))                                                          \
	ENTER(3, suffix, row, A(0), A(1), A(2))                                                    \
	ENTER(4, suffix, row, A(0), A(1), A(2), A(3))                                              \
	ENTER(5, suffix, row, A(0), A(1), A(2), A(3), A(4))                                        \
	PROGRAM(enter##suffix, enter_context, enter_call, row)                                     \
	PROGRAM(enter_paths##suffix, enter_context, send_enter_paths, row)                         \
	PROGRAM(leave##suffix, exit_context, leave_call, row)                                      \
	PROGRAM(leave_paths##suffix, exit_context, send_leave_paths, row)                          \
	PROGRAM(finish##suffix, exit_context, send_operation, OF_CALL(row))

#ifdef CAN_WALK
#define WALK(suffix, row) PROGRAM(walk##suffix, exit_context, walk_mounts, row)
PROGRAM(survey, enter_context, survey_namespace)
#else
#define WALK(suffix, row)
#endif

/* Removing and renaming: there is nothing to see when they begin, and mostly nothing at the end. */
#define REMOVALS(suffix, row)                                                                      \
	PROGRAM(leave_remove##suffix, exit_context, leave_removal, row)                            \
	PROGRAM(finish_removal##suffix, exit_context, send_operation, OF_REMOVAL(row))
#if defined(FANOTIFY_MNT_ID) || defined(INNER)
REMOVALS(, 0)
#endif
/* What fanotify tells of a removal stays, and would be told again; what inner probes tell is taken. */
#ifdef INNER
#define FURTHER_REMOVALS(suffix, row) REMOVALS(suffix, row)
#else
#define FURTHER_REMOVALS(suffix, row)
#endif

ROW(, 0)
WALK(, 0)
#if ROWS > 1
ROW(_again1, 1)
WALK(_again1, 1)
FURTHER_REMOVALS(_again1, 1)
#endif
#if ROWS > 2
ROW(_again2, 2)
WALK(_again2, 2)
FURTHER_REMOVALS(_again2, 2)
#endif
#if ROWS > 3
ROW(_again3, 3)
WALK(_again3, 3)
FURTHER_REMOVALS(_again3, 3)
#endif

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

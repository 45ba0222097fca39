/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* What is kept of a call from its beginning to its end, and the maps that user space fills. */
#ifndef MNTTRACE_CALLS_H
#define MNTTRACE_CALLS_H

/* Indices in the map `programs`, for tail calls: these for each level, in the order of
 * mnttrace/probes/kernel.py, and behind them these two. */
#define PROGRAM_ENTER 0
#define PROGRAM_ENTER_PATHS 1
#define PROGRAM_WALK 2
#define PROGRAM_LEAVE_PATHS 3
#define PROGRAM_FINISH 4
#define PROGRAM_FINISH_REMOVAL 5
#define PROGRAMS 6
#define AT_LEVEL(program, level) ((program) + PROGRAMS * (level))
#define PROGRAM_SURVEY AT_LEVEL(0, LEVELS)
#define PROGRAM_WALK_REMOVAL (PROGRAM_SURVEY + 1)

/*
 * On newer kernels (7.x, those with trace_call_bpf_faultable()) programs on tracepoints of system
 * calls can be preempted. The kernel does not run a program on a processor where the same one was preempted:
 * that run is skipped. So each program is attached RETRY_LEVELS times there, and copy n acts only
 * if the copies before it were skipped. Other programs do run meanwhile, so no two share a slot of
 * a per-CPU array, but for those that one goes on with by tail call.
 *
 * 32-bit calls, if they are asked for and seen by tracepoints, have programs of their own, at as
 * many levels behind these.
 */
#ifdef COMPAT
#define LEVELS (2 * RETRY_LEVELS)
#else
#define LEVELS RETRY_LEVELS
#endif
#define IS_COMPAT(level) ((level) >= RETRY_LEVELS)
#define IS_RETRY(level) ((level) % RETRY_LEVELS != 0)
#define IS_LAST(level) ((level) % RETRY_LEVELS == RETRY_LEVELS - 1)
#define OF_CALL(level) (2 * (level))
#define OF_REMOVAL(level) (2 * (level) + 1)
#define OF_SURVEY (2 * LEVELS)
#define CALL_SLOTS (2 * LEVELS + 1)
/* `count` is the number of arguments, from 1 to 5. */
#define OF_ENTER(count, level) (CALL_SLOTS - 1 + (count) + 5 * (level))
#define SLOTS (CALL_SLOTS + 5 * LEVELS)

/* The numbers of 32-bit calls begin there, in the map `traits` and in records; so many are those of
 * other calls at most. The same in mnttrace/linux/syscalls.py. */
#define COMPAT_CALLS 512
/* umount(2) of 32-bit programs, which has no flags. */
#define COMPAT_OLDUMOUNT 22

/* A call of mnttrace/linux/syscalls.py, by its number in the map `traits`. */
struct traits {
	u8 arg_kinds[6]; /* ARG_KIND_ */
	u8 always_recorded; /* or only if it concerns a mount namespace */
	u8 kind; /* SYSCALL_KIND_ */
	u8 count; /* of arguments */
	u8 spare[7];
};

/* A call that has begun, by thread in the map `inflight`. */
struct inflight {
	u64 entered;
	u64 arguments[6];
	u64 mntns_id;
	u64 child_mntns;
	u64 child_mntns_id;
	/* move_mount: the mount that from_dfd is, with MOVE_MOUNT_F_EMPTY_PATH. */
	u64 moved;
	/* The only mount that the call can change, where no path lookup is needed to know it, and
	 * its unique id. */
	u64 target;
	u64 target_unique;
	/* Its settings when the call begins, if the target is /proc/self/fd/N: what is mounted at
	 * /proc need not be procfs, so that another one may be the target. Else 0. */
	u64 target_settings;
	/* Mounts with a higher unique id are new. */
	u64 watermark;
	u32 mntns;
	u32 child;
	u32 target_mntns;
	/* Whether what it detaches is known without a list: see the map `watched`. */
	u32 watched;
	/* It was begun just now, and retries have yet to see that it was not skipped. */
	u32 is_fresh;
	/* Of the call. */
	u32 number;
};

struct operation_scratch {
	struct operation_record record;
	char strings[STRINGS_SIZE + STRING_SIZE];
	u64 wakeup;
	/* The call may have detached mounts in namespaces that nobody reports of yet. */
	u64 looks_elsewhere;
};

/* Whether a process was sent since it was executed: its id may be used again. */
struct sent_process {
	u64 started;
	u64 executed;
};

struct process_scratch {
	struct process_record record;
	char command_line[COMMAND_LINE_SIZE];
};

#ifdef CALLS_BY_FUNCTION
/*
 * Programs on the functions that calls are made by, such as __x64_sys_mount(), where they begin and
 * where they return: all by few links, whose cookie for a function is the number in `traits`. They
 * run with preemption disabled, and see 32-bit calls as others. The context is the processor's
 * registers; the function's one argument are those of user space.
 */
static u64 (*attach_cookie)(void *context) = (void *)174;

struct enter_context {
	u64 registers[1];
};

struct exit_context {
	u64 registers[1];
};

#define NUMBER_OF(ctx, level) ((u32)attach_cookie(ctx))
#define RESULT_OF(ctx) ((s64)(ctx)->registers[REGISTER_OF_RESULT / 8])
#else
/* Programs on tracepoints. */
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

#define NUMBER_OF(ctx, level) ((u32)(ctx)->number + (IS_COMPAT(level) ? COMPAT_CALLS : 0))
#define RESULT_OF(ctx) ((ctx)->result)
#endif

struct arguments {
	u64 value[8];
};

/*
 * The recorder's own process, which is not traced. It asks by setns(2) with a type that does not
 * exist, which the kernel refuses after the enter program has seen it. With the descriptor of
 * - a mount namespace: list its mounts; with ASK_WATCHED: fanotify reports what is detached in it;
 * - a fanotify group: that is the recorder's.
 * With ASK_THREAD and a thread in place of a descriptor: is that one in a call?
 */
struct recorder {
	u64 group;
	/* Where a list that is too long for one walk has come to; 0: it is complete. */
	u64 listed;
	u32 pid;
	/* What it asked was answered just now, and retries have yet to see that. */
	u32 is_served;
	u64 is_in_call;
};

BPF_ARRAY(traits, struct traits, 2 * COMPAT_CALLS);
MAPPED(struct recorder, recorder, 1);
BPF_PERCPU_ARRAY(arguments, struct arguments, SLOTS);
BPF_PROG_ARRAY(programs, PROGRAM_WALK_REMOVAL + 1);
BPF_HASH(inflight, u64, struct inflight, 10240);
BPF_PERCPU_ARRAY(operation_scratch, struct operation_scratch, CALL_SLOTS);
BPF_PERCPU_ARRAY(process_scratch, struct process_scratch, CALL_SLOTS);
BPF_TABLE("lru_hash", u32, struct sent_process, processes, 16384);
/* Mount namespaces, by unique id, whose detached mounts fanotify reports to the recorder. */
BPF_TABLE("lru_hash", u64, u8, watched, 65536);
/* Processes whose descendants are marked; made with one entry where there are none. */
BPF_HASH(followed, u32, u8, 65536);

/* Types that no namespace has; the same as in mnttrace/probes/kernel.py. */
#define ASK_LIST 0x40
#define ASK_WATCHED 0x20
#define ASK_THREAD 0x21

#define TS_COMPAT 2

/* Whether this thread is in a 32-bit call: see in_ia32_syscall() of x86. */
static __always_inline bool is_in_compat_call(void)
{
#ifdef COMPAT
	return FIELD(u32, bpf_get_current_task(), TASK_STATUS) & TS_COMPAT;
#else
	return false;
#endif
}

#define EEXIST 17
#define CLONE_NEWNS 0x20000
#define MS_REMOUNT 32
#define MS_BIND 0x1000
#define MS_MOVE 0x2000
#define MS_REC 0x4000
#define MS_PROPAGATION 0x1e0000
#define MOVE_MOUNT_F_EMPTY_PATH 4
#define FSCONFIG_SET_STRING 1
#define FSCONFIG_SET_PATH 3
#define FSCONFIG_SET_PATH_EMPTY 4
#define FSCONFIG_CMD_RECONFIGURE 7
#define AT_FDCWD -100
#define AT_RECURSIVE 0x8000
#define FMODE_PATH 0x4000
#define FAN_MNT_ATTACH 0x01000000
#define FAN_MNT_DETACH 0x02000000
#define EVENTS_LOOKED_AT 64
#define WORKS_LOOKED_AT 256
#define MNT_DOOMED 0x1000000
#define MNT_UMOUNT 0x8000000
#define MNT_CURSOR 0x10000000
#endif

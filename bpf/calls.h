/* What is kept of a call from its beginning to its end, and what user space tells the programs. */
#ifndef MNTTRACE_CALLS_H
#define MNTTRACE_CALLS_H

/* The programs that others go on with, and as many for each further row, in the order of
 * mnttrace/probes/kernel.py; the last one is for the recorder. */
#define PROGRAM_ENTER 0
#define PROGRAM_ENTER_PATHS 1
#define PROGRAM_WALK 2
#define PROGRAM_LEAVE_PATHS 3
#define PROGRAM_FINISH 4
#define PROGRAM_FINISH_REMOVAL 5
#define PROGRAMS 6
#define OF_ROW(program, row) ((program) + PROGRAMS * (row))
#define PROGRAM_SURVEY OF_ROW(0, ROWS)

/*
 * On newer kernels (7.x, where programs on syscalls may sleep) a program can be preempted,
 * and another one run on its processor meanwhile; only the same one is not, and what it should have
 * told of is missed. So there are several rows of the same programs there, each of which does what those
 * before it could not; and what lies in memory of the processor is each program's own, with that of the
 * programs that it goes on with.
 */
#define OF_CALL(row) (2 * (row))
#define OF_REMOVAL(row) (2 * (row) + 1)
#define OF_SURVEY 1
#define CALL_SLOTS (2 * ROWS)
/* By the number of arguments, which is from 1 to 5. */
#define OF_ENTER(count, row) (CALL_SLOTS - 1 + (count) + 5 * (row))
#define SLOTS (CALL_SLOTS + 5 * ROWS)

struct traits {
	u8 fetch[6];
	u8 always;
	u8 does;
	/* How many arguments it has. */
	u8 count;
	u8 spare[7];
};

struct inflight {
	u64 entered;
	u64 arguments[6];
	u64 mntns_id;
	u64 child_mntns;
	u64 child_mntns_id;
	u64 moved;
	/* The mount that the target is, where that does not take a path lookup, and its unique id. */
	u64 target;
	u64 target_unique;
	/* How that is set when the call begins, if it is to be seen whether it was the target: what is
	 * at /proc need not be procfs. Else 0. */
	u64 target_settings;
	u64 watermark;
	u32 mntns;
	u32 child;
	u32 target_mntns;
	u32 watched;
	/* Not all rows have looked at it. */
	u32 is_fresh;
	u32 spare;
};

struct operation_scratch {
	struct operation_record record;
	char strings[STRINGS_SIZE + STRING_SIZE];
	u64 wakeup;
};

/* What tells a process from one that had its number before, or was executed anew since. */
struct sent_process {
	u64 started;
	u64 executed;
};

struct process_scratch {
	struct process_record record;
	char command_line[COMMAND_LINE_SIZE];
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
	u64 value[8];
};

/* The process that records: it is not traced. Its setns(2) on a mount namespace, which fails,
 * asks for a list of that namespace's mounts, or says that fanotify tells of them (ASK_WATCHED); on
 * its fanotify group, it shows which one that is; with a thread for a descriptor, it asks whether
 * that is in a call (ASK_THREAD). */
struct recorder {
	u64 group;
	u64 listed;
	u32 pid;
	/* Not all rows have looked at what one of them did. */
	u32 is_served;
	u64 is_in_call;
};

BPF_ARRAY(traits, struct traits, 512);
MAPPED(struct recorder, recorder, 1);
BPF_PERCPU_ARRAY(arguments, struct arguments, SLOTS);
BPF_PROG_ARRAY(programs, PROGRAM_SURVEY + 1);
BPF_HASH(inflight, u64, struct inflight, 10240);
BPF_PERCPU_ARRAY(operation_scratch, struct operation_scratch, CALL_SLOTS);
BPF_PERCPU_ARRAY(process_scratch, struct process_scratch, CALL_SLOTS);
BPF_TABLE("lru_hash", u32, struct sent_process, processes, 16384);
/* Namespaces, by unique id, whose detached mounts are told by fanotify. */
BPF_TABLE("lru_hash", u64, u8, watched, 65536);
#ifdef FOLLOW_DESCENDANTS
BPF_HASH(followed, u32, u8, 65536);
#endif

/* Types that no namespace has; the same codes as in mnttrace/probes/kernel.py. */
#define ASK_WATCHED 0x20
#define ASK_THREAD 0x21

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

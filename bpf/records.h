/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The records that the programs send to user space, through the ring buffer `events`.
 *
 * scripts/generate_records.py makes mnttrace/probes/records.py from this file: run it after a
 * change. It understands fixed-width integers, arrays of them and #define NAME number, and refuses
 * padding.
 *
 * The records of one call share `tid` and `entered`; its operation_record comes last.
 */
#ifndef MNTTRACE_RECORDS_H
#define MNTTRACE_RECORDS_H

/* The first member of every record. */
#define RECORD_OPERATION 1
#define RECORD_PATH 2
#define RECORD_MOUNTS 3
#define RECORD_PROCESS 4
#define RECORD_EVENT 5
#define RECORD_ENDED 6

#define ARGUMENTS 6
#define STRING_SIZE 4096
/* All strings of one operation: at most four arguments are strings. */
#define STRINGS_SIZE 16384
#define PATH_DEPTH 64
#define NAME_SIZE 256
#define COMMAND_LINE_SIZE 1024

/* `lengths` of an operation: of each string its bytes, counting the final NUL, or one of these. */
#define STRING_NULL 0
#define STRING_UNREADABLE -1
/* Longer than STRING_SIZE: so many bytes were kept, and the last of them is a NUL. */
#define STRING_CUT 4097

/* What an argument of a system call is; the same codes as ArgKind in mnttrace/linux/syscalls.py. */
#define ARG_KIND_VALUE 0
#define ARG_KIND_STRING 1
#define ARG_KIND_PATH 2
#define ARG_KIND_PATH_AT 3
#define ARG_KIND_DESCRIPTOR 4
#define ARG_KIND_MOUNT_ATTR 5
#define ARG_KIND_CLONE_ARGS 6
#define ARG_KIND_VALUE_BY_COMMAND 7

/* What a system call does to mounts; the same codes as SyscallKind in
 * mnttrace/linux/syscalls.py. */
#define SYSCALL_KIND_NOTHING 0
#define SYSCALL_KIND_DESCRIPTOR 1
#define SYSCALL_KIND_MOUNT 2
#define SYSCALL_KIND_MOVE_MOUNT 3
#define SYSCALL_KIND_UMOUNT 4
#define SYSCALL_KIND_PIVOT 5
#define SYSCALL_KIND_SETATTR 6
#define SYSCALL_KIND_NAMESPACE 7
/* Removes or renames a file or directory: recorded only if mounts were detached by that. */
#define SYSCALL_KIND_REMOVE 8
/* fsconfig: changes a super block, if its command is FSCONFIG_CMD_RECONFIGURE. */
#define SYSCALL_KIND_RECONFIGURE 9

/* `argument` of a path record: the number of an argument, from 0, or one of these: the caller's root
 * directory, if that is not the namespace's; the descriptor that the call returned; the mount point
 * and the root of the mount that it made. */
#define ARGUMENT_CHROOT 6
#define ARGUMENT_RESULT 7
#define ARGUMENT_MOUNTPOINT 8
#define ARGUMENT_ROOT 9

/* `base` of a path record: where its names begin. */
#define BASE_CWD 1
#define BASE_DESCRIPTOR 2
/* The descriptor N of an argument that begins with /proc/self/fd/N or /proc/thread-self/fd/N. */
#define BASE_PROC_FD 3
/* A dentry: the names lead up to the root of its file system. */
#define BASE_DENTRY 4
#define BASE_ROOT 5

/* Why mounts are listed. */
#define LIST_MADE 1 /* a call made these */
#define LIST_BIRTH 2 /* all of a namespace that a call made */
#define LIST_AFTER 3 /* all of the caller's namespace, after a call that may have changed any */
#define LIST_SURVEY 4 /* all of a namespace that the recorder asked about */
#define LIST_CHANGED 5 /* the only one that a call can have changed */
#define LIST_UNWATCHED 6 /* all of a namespace that nobody reports of yet, after a call elsewhere */

/* How a mount came to be in the list. */
#define HOW_MADE 1 /* the call made it, in the caller's namespace */
#define HOW_PROPAGATED 2 /* a copy of one that the call made, at a peer or a slave */
#define HOW_LISTED 3 /* it is one of the namespace */
#define HOW_COVERED 4 /* a copy was mounted beneath it, and is its parent now */

/* So many mount entries at most are in one mounts_record. */
#define ENTRIES 48

/* What the map `losses` counts: records sent (SENT_) and lost for lack of room (LOST_), calls that
 * began before the recorder (TORN_), and lists that are not complete (CUT_). */
#define LOST_OPERATION 0
#define LOST_PATH 1
#define LOST_MOUNTS 2
#define LOST_PROCESS 3
/* A call that could not be kept until its end. */
#define LOST_INFLIGHT 4
#define TORN_OPERATION 5
/* There are more mounts than one walk may look at. */
#define CUT_WALK 6
#define SENT_OPERATION 7
#define SENT_PATH 8
#define SENT_MOUNTS 9
#define SENT_PROCESS 10
#define LOST_EVENT 11
#define SENT_EVENT 12
/* A mount that got no number, since there were too many: see identity.h. */
#define LOST_NUMBER 13
/* A call whose end was not seen. */
#define LOST_RUN 14
/* The walk met mounts that were being changed, each time that it was begun. */
#define CUT_INCONSISTENT 15
/* A call attached a mount that its list lacks: it was detached meanwhile, or not found. */
#define LOST_MADE 16
/* Namespaces that nobody reported of yet were not listed after a call, since there were too many or
 * they kept changing; and ends of such that were not sent. */
#define CUT_UNWATCHED 17
#define LOST_ENDED 18
#define SENT_ENDED 19
#define LOSS_KINDS 20

/* How `last_detached` of an operation is known. */
#define BY_EVENT 0 /* from the thread's last event in the fanotify queue, or from a kernel hook */
#define BY_RELEASE_READ 1 /* from what the thread has yet to free; no event of it is in the queue */
#define BY_RELEASE 2 /* from that, too; but events of it may be in the queue */

/* A call that has ended. `last_detached` may be of an earlier call, if this one caused no event; the
 * mount `last_released`, which the thread has yet to free, is not. `strings_size` bytes of NUL-terminated strings follow, in the order of the
 * arguments. */
struct operation_record {
	u16 kind;
	u16 strings_size;
	u32 number;
	u64 entered;
	u64 left;
	s64 result;
	u64 arguments[6];
	s32 lengths[6];
	u64 attr[4];
	u64 attr_size;
	u64 cgroup;
	u64 mntns_id_before;
	u64 mntns_id_after;
	u64 mntns_id_target;
	u64 root_unique;
	u64 last_detached;
	u64 last_released;
	u32 mntns_before;
	u32 mntns_after;
	u32 mntns_target;
	u32 pid;
	u32 tid;
	u32 parent;
	u32 uid;
	u32 child;
	u32 pidns;
	u32 userns;
	u32 pid_inside;
	u32 descends;
	u32 last_detached_known_by;
	u32 walk_cut;
	u8 comm[16];
};

/*
 * What a relative path or a descriptor among the arguments begins at, or all paths of a process in
 * a chroot. Taken when the call begins; for the descriptor that it returns and the mount that it
 * makes, when it ends. `names_size` bytes of NUL-terminated names follow: the path's components from
 * the last one up to the root of the namespace, or to that of the file system.
 */
struct path_record {
	u16 kind;
	u16 names_size;
	u8 argument;
	u8 base;
	u8 complete;
	u8 at_mount_root;
	u32 tid;
	s32 descriptor;
	u64 entered;
	u64 mount_unique;
	u64 context;
	u64 dentry;
	u32 mount_id;
	u32 mntns;
	u32 nsfs_inode;
	u32 nsfs_type;
	u32 filesystem_magic;
	u32 spare;
};

/* One mount. `root` and `mountpoint` are addresses of dentries, which are used again; with their
 * hashes (dentry_hash() in kernel.h) they tell dentries apart. They never get into a recording. */
struct mount_entry {
	u64 unique;
	u64 parent_unique;
	u64 origin_unique;
	u64 mntns_id;
	u64 root;
	u64 mountpoint;
	u32 mount_id;
	u32 parent_id;
	u32 mntns;
	u32 group;
	u32 master;
	u32 device;
	u32 flags;
	u32 how;
	u32 root_hash;
	u32 mountpoint_hash;
	u32 super_flags;
	u32 spare;
	u8 fstype[16];
	u8 devname[32];
};

/* A part of a list of mounts: `entry_count` mount_entry follow. One that is `first` replaces the
 * parts before it, since the walk was begun anew. After one that was lost none is `last`. */
struct mounts_record {
	u16 kind;
	u16 entry_count;
	u32 tid;
	u64 entered;
	u64 mntns_id;
	u32 mntns;
	u16 why;
	u8 first;
	u8 last;
};

/* A mount was attached or detached, as a kernel hook saw it (see hooks.h). `mask` has the bits of
 * fanotify. */
struct event_record {
	u16 kind;
	u16 spare;
	u32 mask;
	u64 at;
	u64 unique;
	u32 tid;
	u32 mount_id;
};

/* A namespace that nobody reported of yet was found to have ended, at a time. */
struct ended_record {
	u16 kind;
	u16 spare;
	u32 mntns;
	u64 at;
	u64 mntns_id;
};

/* A process that made a recorded call, sent once for each program that it executes. `size` bytes of
 * its command line follow; `cut` says that there are more. */
struct process_record {
	u16 kind;
	u16 size;
	u32 pid;
	u64 entered;
	u64 started;
	u64 cgroup;
	u64 mntns_id;
	u32 parent;
	u32 uid;
	u32 mntns;
	u32 cut;
	u8 comm[16];
	u8 parent_comm[16];
};

/* A thread that has ended, in the map `ended_threads`: what it did without a call may be told of
 * only then. */
struct ended_thread {
	u32 pid;
	u32 parent;
	u32 uid;
	u32 mntns;
	u8 comm[16];
};
#endif

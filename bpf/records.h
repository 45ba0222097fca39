/*
 * The records that cross from the kernel to user space.
 *
 * mnttrace/probes/layout.py reads this file: every struct here becomes a named tuple. Keep to
 * fixed-width integers, arrays of them and #define NAME number; all structs are free of padding.
 *
 * The records of one call share `tid` and `entered`; its operation_record comes last.
 */
#ifndef MNTTRACE_RECORDS_H
#define MNTTRACE_RECORDS_H

#define RECORD_OPERATION 1
#define RECORD_PATH 2
#define RECORD_MOUNTS 3
#define RECORD_PROCESS 4
#define RECORD_EVENT 5

#define ARGUMENTS 6
#define STRING_SIZE 4096
/* The strings of one operation: at most four arguments are strings. */
#define STRINGS_SIZE 16384
#define PATH_DEPTH 64
#define NAME_SIZE 256
#define COMMAND_LINE_SIZE 1024

/* What became of a string: its length in bytes, counting the final NUL, or one of these. */
#define STRING_NULL 0
#define STRING_UNREADABLE -1
/* Longer than STRING_SIZE: that many bytes, the last a NUL, were kept. */
#define STRING_CUT 4097

/* How an argument is fetched; the same codes as linux.syscalls.Fetch. */
#define FETCH_VALUE 0
#define FETCH_STRING 1
#define FETCH_PATH 2
#define FETCH_PATH_AT 3
#define FETCH_DESCRIPTOR 4
#define FETCH_MOUNT_ATTR 5
#define FETCH_CLONE_ARGS 6
#define FETCH_VALUE_BY_COMMAND 7

/* What a call that succeeds does to mounts; the same codes as linux.syscalls.Does. */
#define DOES_NOTHING 0
#define DOES_DESCRIPTOR 1
#define DOES_MOUNT 2
#define DOES_MOVE_MOUNT 3
#define DOES_UMOUNT 4
#define DOES_PIVOT 5
#define DOES_SETATTR 6
#define DOES_NAMESPACE 7
/* Removes or renames a file or folder: an operation only if mounts were detached by that. */
#define DOES_REMOVE 8
/* fsconfig: changes a super block, if that is its command. */
#define DOES_RECONFIGURE 9

/* `argument` of a path record: an argument of the call, or one of these. */
#define ARGUMENT_RESULT 7
#define ARGUMENT_MOUNTPOINT 8
#define ARGUMENT_ROOT 9

/* What a path record describes: a dentry's path is that within its file system. */
#define BASE_CWD 1
#define BASE_DESCRIPTOR 2
#define BASE_PROC_FD 3
#define BASE_DENTRY 4

/* Why mounts are listed: those that a call made, all of a namespace, or those alone that a call can
 * have changed. */
#define LIST_MADE 1
#define LIST_BIRTH 2
#define LIST_AFTER 3
#define LIST_SURVEY 4
#define LIST_CHANGED 5

/* How a mount came to be in the list. */
#define HOW_MADE 1
#define HOW_CARRIED 2
#define HOW_LISTED 3
#define HOW_COVERED 4

#define ENTRIES 48

/* Counters of what could not be sent or seen, by kind: the map `losses`. */
#define LOST_OPERATION 0
#define LOST_PATH 1
#define LOST_MOUNTS 2
#define LOST_PROCESS 3
#define LOST_INFLIGHT 4
#define TORN_OPERATION 5
#define CUT_WALK 6
#define SENT_OPERATION 7
#define SENT_PATH 8
#define SENT_MOUNTS 9
#define SENT_PROCESS 10
#define LOST_EVENT 11
#define SENT_EVENT 12
/* A mount that has no number, for there were too many: see identity.h. */
#define LOST_NUMBER 13
/* A call whose end was not seen. */
#define LOST_RUN 14
#define CUT_ASTRAY 15
/* A call attached a mount that its list lacks: it is detached by then, or was not found. */
#define LOST_MADE 16
#define LOSS_KINDS 17

/* What says that `notified` was the last mount that a call detached: */
#define BY_EVENT 0 /* the thread's last event in the queue, or an inner probe */
#define BY_RELEASE_READ 1 /* what the thread has yet to free: all of its events have been read */
#define BY_RELEASE 2 /* that, too, where it could not be seen whether they have */

/* One finished call. `strings_size` bytes of NUL-terminated strings follow, in argument order. */
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
	u64 notified;
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
	u32 notified_by;
	u32 walk_cut;
	u8 comm[16];
};

/*
 * Where an argument that is relative or a descriptor leads, taken when the call began (or, for
 * the descriptor that it returned and the mount that it made, when it ended). `names_size` bytes
 * of NUL-terminated names follow: the path's components from the last one up to the process's
 * root, or that of the file system.
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

/* One mount. Dentries are told apart by their addresses, with dentry_hash() of kernel.h; these go no
 * further than capture/. */
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

/* Mounts that a call made, or all mounts of a namespace: `count` mount_entry follow. One that is
 * `first` of its list replaces what came before of the same. */
struct mounts_record {
	u16 kind;
	u16 count;
	u32 tid;
	u64 entered;
	u64 mntns_id;
	u32 mntns;
	u16 why;
	u8 first;
	u8 last;
};

/* A mount that was attached or detached, told from inside the kernel while it happened: what fanotify
 * tells, where programs can be put on kernel functions. */
struct event_record {
	u16 kind;
	u16 spare;
	u32 mask;
	u64 at;
	u64 unique;
	u32 tid;
	u32 mount_id;
};

/* A process that is seen for the first time since it was executed; its command line follows. */
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
#endif

/*
 * The records that cross from the kernel to user space.
 *
 * mnttrace/capture/layout.py reads this file: every struct here becomes a numpy dtype. Keep to
 * fixed-width integers, arrays of them and #define NAME number; all structs are free of padding.
 */
#ifndef MNTTRACE_RECORDS_H
#define MNTTRACE_RECORDS_H

#define RECORD_OPERATION 1
#define RECORD_PATH 2

#define ARGUMENTS 6
#define STRING_SIZE 4096
/* The strings of one operation: at most four arguments are strings. */
#define STRINGS_SIZE 16384
#define PATH_DEPTH 64
#define NAME_SIZE 256

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

/* `argument` of a path record that describes the descriptor that a call returned. */
#define ARGUMENT_RESULT 7

/* What a path record describes. */
#define BASE_CWD 1
#define BASE_DESCRIPTOR 2
#define BASE_PROC_FD 3
#define BASE_MOUNT 4

/* Counters of what could not be sent or seen, by kind: the map `losses`. */
#define LOST_OPERATION 0
#define LOST_PATH 1
#define LOST_INFLIGHT 2
#define TORN_OPERATION 3
#define SENT_OPERATION 4
#define SENT_PATH 5
#define LOSS_KINDS 6

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
	u8 comm[16];
};

/*
 * Where an argument that is relative or a descriptor leads, taken when the call began (or, for
 * the descriptor that it returned, when it ended). `names_size` bytes of NUL-terminated names
 * follow: the path's components from the last one up to the process's root.
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
	u32 mount_id;
	u32 mntns;
	u32 nsfs_inode;
	u32 nsfs_type;
	u32 filesystem_magic;
	u32 depth;
	u32 group;
	u32 parent_group;
	u32 parent_master;
	u32 parent_id;
};
#endif

/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* The state of a walk over mounts, and the list of mounts that it sends. */
#ifndef MNTTRACE_LIST_H
#define MNTTRACE_LIST_H

#ifdef CAN_WALK

/* What a walk goes over now, or how it ended: complete, or after too many restarts. */
#define PHASE_NAMESPACE 1
#define PHASE_TREE 2
#define PHASE_PROPAGATE 3
#define PHASE_DONE 4
#define PHASE_INCONSISTENT 5

/* What its next step is, in the red-black tree of a namespace's mounts or in a tree of mounts. */
#define AT_NODE 1 /* look at this one */
#define TO_FAR_END 2 /* go down to the outermost node, or to the first child */
#define UPWARDS 3 /* go to the parent, or to the next sibling */
#define FROM_ROOT 4 /* search from the root downwards: after a restart */

#define RB_RIGHT 8
#define RB_LEFT 16
/* Of a red-black tree of 2^20 mounts: it is at most twice as deep as a full tree. */
#define TREE_DEPTH 40

struct walk {
	/* What is sent: the first `count` entries. */
	struct mounts_record record;
	struct mount_entry entries[ENTRIES];
	/* A copy of the struct mount that is looked at, and its unique id. */
	u8 mount[STRUCT_MOUNT_SIZE];
	u64 unique;
	/* Mounts with a higher unique id are new; the highest one met. */
	volatile u64 watermark;
	volatile u64 newest;
	/* Where the walk is: in the namespace or the tree, and among peers and slaves. */
	volatile u64 node;
	volatile u64 cursor;
	/* The mount whose peers and slaves it goes over. */
	volatile u64 origin;
	volatile u64 origin_unique;
	volatile u64 origin_master;
	/* The top of the tree that it goes over; of the mount that the call made its root directory
	 * and its mount point. */
	volatile u64 top;
	volatile u64 top_root;
	volatile u64 top_mountpoint;
	/* To be looked at next: the mount that a copy was mounted beneath. */
	volatile u64 above;
	/* The mount namespace. */
	volatile u64 start;
	/* The unique id of a mount that it has to meet. */
	volatile u64 expected;
	/* To find out that it goes in circles: see goes_in_circles(). */
	volatile u64 mark;
	/* A search from the root: the best node so far, and the unique id that it is to be next to.
	 * Where mounts are a list: the last one passed. */
	volatile u64 best;
	volatile u64 passed;
	volatile u32 steps;
	/* Whether it has met `expected`. */
	volatile u32 met;
	volatile u32 restarts;
	volatile u32 phase;
	/* The phase after PHASE_PROPAGATE. */
	volatile u32 back;
	volatile u32 at;
	/* The slaves of `cursor` come next. */
	volatile u32 down;
	/* All mounts are wanted, not only new ones. */
	volatile u32 whole;
	/* Only `top` is wanted. */
	volatile u32 alone;
	/* How many namespaces were listed that nobody reports of yet; 0 during the call's own list. */
	volatile u32 unwatched;
	/* A part of the list found no room: what the others lack may be there. */
	volatile u32 lost;
	volatile u32 count;
	volatile u32 steps_left;
};

BPF_PERCPU_ARRAY(walks, struct walk, CALL_SLOTS);

#ifdef MNT_NS_TREE
/* The highest unique id that any walk has met: mounts up to it are not new to the next call. */
BPF_ARRAY(newest_seen, u64, 1);

/* The node of the mount in a namespace that has the lowest unique id (RB_LEFT), or the highest. */
static __always_inline u64 outermost_node(u64 mntns, u32 side)
{
#ifdef MNT_NS_LAST_NODE
	return FIELD(u64, mntns, side == RB_LEFT ? MNT_NS_FIRST_NODE : MNT_NS_LAST_NODE);
#else
	u64 node = FIELD(u64, mntns, MNT_NS_TREE), next;
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < TREE_DEPTH; i++) {
		next = node ? FIELD(u64, node, side) : 0;
		if (!next)
			break;
		node = next;
	}
	return node;
#endif
}

static __always_inline u64 newest_of(u64 mntns)
{
	u32 zero = 0;
	u64 *seen = newest_seen.lookup(&zero);
	u64 node = outermost_node(mntns, RB_RIGHT);
	u64 newest = node ? unique_of(node - MOUNT_NODE) : 0;

	return seen && *seen > newest ? *seen : newest;
}

static __always_inline void remember_newest(u64 newest)
{
	u32 zero = 0;
	u64 *seen = newest_seen.lookup(&zero);

	if (seen && newest > *seen)
		*seen = newest;
}
#else
/* Before 6.8 the mounts of a namespace are a list, in the order in which they came. */
static __always_inline u64 outermost_node(u64 mntns, u32 side)
{
	u64 head = mntns + MNT_NS_LIST;
	u64 node = FIELD(u64, head, side == RB_LEFT ? 0 : 8);

	return node != head ? node : 0;
}

static __always_inline u64 newest_of(u64 mntns)
{
	return number_now();
}

static __always_inline void remember_newest(u64 newest)
{
}
#endif

/* Mounts of a detached tree that a call returned a descriptor of are not new to the next call. */
static __always_inline void remember_detached(s32 descriptor)
{
	u64 file = file_of(descriptor);
	u64 vfsmount = file ? FIELD(u64, file + FILE_PATH, PATH_MNT) : 0;

	if (vfsmount)
		remember_newest(newest_of(FIELD(u64, vfsmount - MOUNT_MNT, MOUNT_NS)));
}

static __always_inline void send_mounts(struct walk *w, u8 last)
{
	u64 size = sizeof(w->record) + (u64)w->count * sizeof(struct mount_entry);

	if (!w->count && !(last && w->whole))
		return;
	w->record.entry_count = w->count;
	w->record.last = last && !w->lost;
	w->count = 0;
	/* Else the compiler makes a comparison of it that the verifier learns nothing from. */
	asm volatile("" : "+r"(size));
	if (size > sizeof(w->record) + sizeof(w->entries))
		return;
	if (events.ringbuf_output(w, size, BPF_RB_NO_WAKEUP)) {
		count(LOST_MOUNTS);
		w->lost = 1;
	} else {
		count(SENT_MOUNTS);
	}
	w->record.first = 0;
}

/* Fill in the device and the flags of a super block; returns its file_system_type. */
static __always_inline u64 describe_super_block(struct mount_entry *e, u64 sb)
{
#if !defined(RDONLY_CAST) && SB_TYPE > SB_DEV && SB_FLAGS > SB_TYPE && SB_FLAGS - SB_DEV <= 128
	u8 part[SB_FLAGS - SB_DEV + 8] = {};

	read_kernel(part, sizeof(part), (void *)(sb + SB_DEV));
	e->device = *(u32 *)part;
	e->super_flags = *(u32 *)(part + SB_FLAGS - SB_DEV);
	return *(u64 *)(part + SB_TYPE - SB_DEV);
#else
	e->device = FIELD(u32, sb, SB_DEV);
	e->super_flags = FIELD(u32, sb, SB_FLAGS);
	return FIELD(u64, sb, SB_TYPE);
#endif
}

/* A member of the mount that is looked at. */
#define COPIED(type, offset) (*(type *)(w->mount + (offset)))

/* Append the mount that is looked at to the list. */
static __always_inline void list_mount(struct walk *w, u32 how)
{
	u32 n = w->count;

	if (n >= ENTRIES)
		return;
	struct mount_entry *e = &w->entries[n];
	u64 parent = COPIED(u64, MOUNT_PARENT);
	u64 master = COPIED(u64, MOUNT_MASTER);
	u64 mntns = COPIED(u64, MOUNT_NS);
	u64 sb = COPIED(u64, MOUNT_MNT + VFSMOUNT_SB);

	ids_of(parent, &e->parent_unique, &e->parent_id);
	e->unique = w->unique;
	e->origin_unique = how == HOW_PROPAGATED ? w->origin_unique : 0;
	e->root = COPIED(u64, MOUNT_MNT + VFSMOUNT_ROOT);
	e->mountpoint = COPIED(u64, MOUNT_MOUNTPOINT);
	e->root_hash = dentry_hash(e->root);
	e->mountpoint_hash = dentry_hash(e->mountpoint);
	e->mount_id = COPIED(u32, MOUNT_ID);
	/* That namespace cannot go away during the walk, so it need not be read again. */
	bool is_known = how == HOW_LISTED && mntns == w->start;
	e->mntns = is_known ? w->record.mntns : mntns_inode(mntns);
	e->mntns_id = is_known ? w->record.mntns_id : mntns_id(mntns);
	e->group = COPIED(u32, MOUNT_GROUP);
	e->master = master ? FIELD(u32, master, MOUNT_GROUP) : 0;
	u64 type = describe_super_block(e, sb);
	e->flags = COPIED(u32, MOUNT_MNT + VFSMOUNT_FLAGS);
	e->spare = 0;
#ifdef MOUNT_T_FLAGS
	/* T_UNBINDABLE, which was MNT_UNBINDABLE among the flags before 6.17. */
	if (COPIED(u32, MOUNT_T_FLAGS) & 2)
		e->flags |= 0x2000;
#endif
	e->how = how;
	read_kernel_str(e->fstype, sizeof(e->fstype),
				  (void *)FIELD(u64, type, FS_TYPE_NAME));
	/* As show_mountinfo() in fs/proc_namespace.c: "none" without a source, but "" stays. */
	if (read_kernel_str(e->devname, sizeof(e->devname),
			    (void *)COPIED(u64, MOUNT_DEVNAME)) < 0)
		__builtin_memcpy(e->devname, "none", 5);
	if (e->unique > w->newest)
		w->newest = e->unique;
	/* Without a namespace it was detached meanwhile. */
	if (e->unique == w->expected && mntns)
		w->met = 1;
	w->count = n + 1;
}
#endif
#endif

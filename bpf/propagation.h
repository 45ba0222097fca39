/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Walks over struct mount: over the mounts that a call made, with their copies at peers and slaves
 * in all namespaces, and over all mounts of one namespace.
 *
 * Nothing is locked, and every pointer is read as one that may be wrong. User space tells mounts
 * apart by unique ids, which are never used again. If mounts are changed meanwhile a walk can go in
 * circles, or miss a mount that an event named. It is begun anew then, and searches each next mount
 * from the root of the tree downwards: while the kernel rotates the tree its parent pointers can
 * make a loop, its child pointers never do (lib/rbtree.c).
 *
 * The state is in a map and volatile, so that all iterations of the loop are the same to the
 * verifier. Where that goes through each of them all the same, a walk continues by tail call.
 */
#ifndef MNTTRACE_PROPAGATION_H
#define MNTTRACE_PROPAGATION_H

#ifdef CAN_WALK

/* Of a namespace with more mounts than LIST_LIMIT user space reads the table after a change. */
#ifdef MAY_GOTO
#define WALK_STEPS 65536
#define LIST_LIMIT 4096
#define MAY_STEP(i) may_goto()
#else
/* One walk is up to 30 programs, by tail call. */
#define STEPS_PER_PROGRAM 128
#define WALK_STEPS (30 * STEPS_PER_PROGRAM)
#define LIST_LIMIT 512
#define MAY_STEP(i) ((i) < STEPS_PER_PROGRAM)
#endif
/* Of the recorder's walks, so that it leaves the processor to others: it can ask again. */
#define SURVEY_STEPS 3840
#define WALK_RESTARTS 4

/* Whether the new mount that is looked at is a propagated copy of another new one. Copies come
 * behind their source in the ring of peers, or are its slaves (propagate_mnt() in fs/pnode.c). */
static __always_inline bool is_copy(struct walk *w)
{
	u64 master = COPIED(u64, MOUNT_MASTER);

	if (master && is_new(w, master))
		return true;
	u64 before = unique_of(COPIED(u64, MOUNT_SHARE + 8) - MOUNT_SHARE);
	return before > w->watermark && before < w->unique;
}

/* Whether the next peer or the first slave of the mount that is looked at is new. */
static __always_inline bool has_new_copies(struct walk *w, u64 mount)
{
	u64 slave = first_slave(mount);

	return is_new(w, COPIED(u64, MOUNT_SHARE) - MOUNT_SHARE) || (slave && is_new(w, slave));
}

/* The mount that covers the root of the one that is looked at, or its newest child; 0 for none. */
static __always_inline u64 last_on(struct walk *w, u64 mount)
{
#ifdef MOUNT_OVERMOUNT
	return COPIED(u64, MOUNT_OVERMOUNT);
#else
	u64 last = COPIED(u64, MOUNT_MOUNTS + 8);

	return last != mount + MOUNT_MOUNTS ? last - MOUNT_CHILD : 0;
#endif
}

static __always_inline void remember_top(struct walk *w)
{
	w->top_root = COPIED(u64, MOUNT_MNT + VFSMOUNT_ROOT);
	w->top_mountpoint = COPIED(u64, MOUNT_MOUNTPOINT);
}

/* Whether a new mount can come behind an older one. So in a list, which is in the order in which
 * mounts came to the namespace: one that was made first may have come last. */
static __always_inline bool may_be_behind_older(struct walk *w)
{
#ifdef MNT_NS_TREE
	return false;
#else
	return w->expected && !w->met;
#endif
}

/* One step of the walk; the mount that it came to is listed. */
static __always_inline void walk_step(struct walk *w)
{
	u32 phase = w->phase, how;
	u64 mount = w->above;

	if (mount) {
		w->above = 0;
		how = HOW_COVERED;
	} else if (phase == PHASE_PROPAGATE) {
		mount = step_propagate(w);
		how = HOW_PROPAGATED;
	} else if (phase == PHASE_NAMESPACE) {
		mount = step_namespace(w);
		how = w->whole ? HOW_LISTED : HOW_MADE;
	} else {
		mount = step_tree(w);
		how = w->alone ? HOW_LISTED : HOW_MADE;
	}
	if (!mount)
		return;
	read_kernel(w->mount, sizeof(w->mount), (void *)mount);
#ifdef MOUNT_ID_UNIQUE
	w->unique = COPIED(u64, MOUNT_ID_UNIQUE);
#else
	w->unique = unique_of(mount);
#endif
	if (how == HOW_MADE && phase == PHASE_NAMESPACE) {
		if (w->unique <= w->watermark) {
			if (!may_be_behind_older(w))
				w->phase = PHASE_DONE;
			return;
		}
		if (is_copy(w))
			return;
	}
	list_mount(w, how);
	if (how == HOW_MADE) {
		if (phase == PHASE_TREE ? mount == w->top : !is_new(w, COPIED(u64, MOUNT_PARENT)))
			remember_top(w);
		if (COPIED(u32, MOUNT_GROUP) || COPIED(u64, MOUNT_SLAVE_LIST))
			propagate_from(w, mount);
	} else if (how == HOW_LISTED) {
		if (w->watermark && has_new_copies(w, mount))
			propagate_from(w, mount);
	}
	else if (how == HOW_PROPAGATED) {
		/* If the copy was mounted beneath an older mount, it is that one's parent now. */
		u64 above = last_on(w, mount);

		if (above && unique_of(above) < w->unique)
			w->above = above;
	}
}

static __always_inline struct walk *begin_walk(u32 slot, u32 phase, u64 watermark, u16 why,
					       u64 entered)
{
	struct walk *w = walks.lookup(&slot);

	if (!w)
		return NULL;
	w->record.kind = RECORD_MOUNTS;
	w->record.tid = bpf_get_current_pid_tgid();
	w->record.entered = entered;
	w->record.why = why;
	w->record.first = 1;
	w->watermark = watermark;
	w->newest = 0;
	w->whole = why != LIST_MADE;
	w->at = AT_NODE;
	w->count = 0;
	w->steps_left = slot == OF_SURVEY ? SURVEY_STEPS : WALK_STEPS;
	w->alone = 0;
	w->lost = 0;
	w->top = 0;
	w->top_root = 0;
	w->above = 0;
	w->expected = 0;
	w->met = 0;
	w->restarts = 0;
	w->steps = 0;
	w->mark = 0;
	w->passed = 0;
	w->cursor = 0;
	w->phase = phase;
	return w;
}

/* Say which mount the walk has to meet, if that is new and it is after new ones. */
static __always_inline void expect(u32 slot, u64 unique)
{
	struct walk *w = walks.lookup(&slot);

	if (w && w->watermark && unique > w->watermark)
		w->expected = unique;
}

/* Continue with the mount that comes next to a unique id: a search from the root of the tree.
 * Lists, which are without that, are begun anew. */
static __always_inline void begin_downwards(struct walk *w, u64 passed)
{
#ifdef MNT_NS_TREE
	w->node = FIELD(u64, w->start, MNT_NS_TREE);
	w->at = FROM_ROOT;
	w->best = 0;
	w->passed = passed;
#else
	w->node = outermost_node(w->start, w->whole ? RB_LEFT : RB_RIGHT);
#endif
}

/* Where a list that is not complete has come to. */
static __always_inline u64 position_of(struct walk *w)
{
#ifdef MNT_NS_TREE
	return w->newest;
#else
	return w->passed;
#endif
}

/* Continue a list that was too long for one walk; anew if the mount that it had come to is gone. */
static __always_inline void continue_after(u64 position)
{
	u32 slot = OF_SURVEY;
	struct walk *w = walks.lookup(&slot);

	if (!w)
		return;
#ifdef MNT_NS_TREE
	begin_downwards(w, position);
#else
	if (FIELD(u64, position - MOUNT_LIST, MOUNT_NS) != w->start)
		return;
	w->node = FIELD(u64, position, 0);
#endif
	w->record.first = 0;
}

/* Begin the walk anew; false if that was done too often. */
static __always_inline bool restart_walk(struct walk *w)
{
	if (w->restarts >= WALK_RESTARTS)
		return false;
	w->restarts++;
	if (w->whole) {
		w->count = 0;
		w->record.first = 1;
	}
	w->above = 0;
	w->steps = 0;
	w->mark = 0;
	if (w->top) {
		w->node = w->top;
		w->at = AT_NODE;
		w->phase = PHASE_TREE;
	} else {
		begin_downwards(w, w->whole ? 0 : ~0ULL);
		w->phase = PHASE_NAMESPACE;
	}
	return w->node != 0;
}

/* Whether the walk came to a state that it was in before: it is compared with that of the last step
 * whose number is a power of two (R. P. Brent's cycle detection, 1980). */
static __always_inline bool goes_in_circles(struct walk *w)
{
	u64 here = w->node * 0x9e3779b97f4a7c15ULL + w->cursor * 0xc2b2ae3d27d4eb4fULL +
		   w->passed + w->above + w->phase * 16 + w->at * 4 + w->down;
	u32 steps = w->steps + 1;

	w->steps = steps;
	if (here == w->mark)
		return true;
	if (!(steps & (steps - 1)))
		w->mark = here;
	return false;
}

/* Begin a walk over a mount namespace; false if it has no mounts. */
static __always_inline bool begin_namespace(u32 slot, u64 mntns, u64 watermark, u16 why,
					    u64 entered)
{
	struct walk *w = begin_walk(slot, PHASE_NAMESPACE, watermark, why, entered);

	if (!w)
		return false;
	w->record.mntns = mntns_inode(mntns);
	w->record.mntns_id = mntns_id(mntns);
	w->start = mntns;
	w->node = outermost_node(mntns, w->whole ? RB_LEFT : RB_RIGHT);
	return w->node != 0;
}

/* Begin a walk over a tree of mounts that a call attached. */
static __always_inline bool begin_tree(u32 slot, u64 mount, u64 watermark, u64 entered)
{
	struct walk *w = begin_walk(slot, PHASE_TREE, watermark, LIST_MADE, entered);

	if (!w)
		return false;
	w->record.mntns = 0;
	w->record.mntns_id = 0;
	w->top = w->node = mount;
	return true;
}

/* Begin a walk over one mount, the only one that a call can have changed. */
static __always_inline bool begin_changed(u32 slot, u64 mount, u64 mntns, u64 entered)
{
	struct walk *w = begin_walk(slot, PHASE_TREE, 0, LIST_CHANGED, entered);

	if (!w)
		return false;
	w->record.mntns = mntns_inode(mntns);
	w->record.mntns_id = mntns_id(mntns);
	w->start = mntns;
	w->alone = 1;
	w->top = w->node = mount;
	return true;
}

/* Continue the walk. True at its end: it is complete if that is PHASE_DONE, else it was begun anew
 * too often, or is too long. */
static __always_inline bool continue_walk(struct walk *w)
{
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; MAY_STEP(i); i++) {
		u32 left = w->steps_left;

		if (w->phase == PHASE_DONE) {
			/* If no walk meets it, it was read from an event that had been freed. */
			if (!w->expected || w->met || !restart_walk(w))
				return true;
		}
		if (!left)
			return true;
		w->steps_left = left - 1;
		if (w->count >= ENTRIES)
			send_mounts(w, 0);
		walk_step(w);
		if (goes_in_circles(w) && !restart_walk(w)) {
			w->phase = PHASE_INCONSISTENT;
			return true;
		}
	}
	return false;
}

static __always_inline void end_walk(struct walk *w)
{
	send_mounts(w, w->phase == PHASE_DONE);
	remember_newest(w->newest);
}
#endif
#endif

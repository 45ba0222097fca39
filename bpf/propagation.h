/*
 * Walks over struct mount: the mounts that a call made, with their peers and slaves in every
 * namespace, and all mounts of one namespace.
 *
 * Nothing is locked: each pointer is read with read_kernel(), and what changes meanwhile
 * is told apart in user space by unique ids, which are never used twice. A walk that a change led
 * astray, so that it goes round in circles or misses what fanotify has told of, begins anew, and
 * then goes downwards only: at no moment do the tree's child pointers make a loop, as the parents'
 * do while it is turned (lib/rbtree.c). The state lives in a map and is read through volatile, so that
 * the turns of the loop look alike to the verifier; where it looks at each of them all the same, a walk
 * that is not through after a few goes on by tail call.
 */
#ifndef MNTTRACE_PROPAGATION_H
#define MNTTRACE_PROPAGATION_H

#ifdef CAN_WALK

/* A namespace with more mounts than LIST_LIMIT is not listed after a change: user space reads it. */
#ifdef MAY_GOTO
#define WALK_TURNS 65536
#define LIST_LIMIT 4096
#define MAY_TURN(i) may_goto()
#else
/* In each of up to 30 programs. */
#define TURNS_AT_ONCE 128
#define WALK_TURNS (30 * TURNS_AT_ONCE)
#define LIST_LIMIT 512
#define MAY_TURN(i) ((i) < TURNS_AT_ONCE)
#endif
/* The recorder can ask anew, and others want its processor. */
#define SURVEY_TURNS 3840
#define WALK_RESTARTS 4

/* Is the new mount in w->mount one that another new one was copied to? Copies come behind what
 * they were made from in the ring of peers, or are its slaves (propagate_mnt() in fs/pnode.c). */
static __always_inline bool is_copy(struct walk *w)
{
	u64 master = COPIED(u64, MOUNT_MASTER);

	if (master && is_new(w, master))
		return true;
	u64 before = unique_of(COPIED(u64, MOUNT_SHARE + 8) - MOUNT_SHARE);
	return before > w->watermark && before < w->unique;
}

/* Is there something new right behind the mount in w->mount among its peers, or first among its
 * slaves? */
static __always_inline bool has_new_copies(struct walk *w, u64 mount)
{
	u64 slave = first_slave(mount);

	return is_new(w, COPIED(u64, MOUNT_SHARE) - MOUNT_SHARE) || (slave && is_new(w, slave));
}

/* The mount that lies on the one in w->mount, or which came to it last; 0 for none. */
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

/* Whether what the call made may lie behind an older mount. A list has mounts in the order in which
 * they came to the namespace, and they have numbers since they were made: one that waited for its
 * place meanwhile is older, and came later. */
static __always_inline bool may_be_behind_older(struct walk *w)
{
#ifdef MNT_NS_TREE
	return false;
#else
	return w->expected && !w->met;
#endif
}

/* One turn of the walk: a move, and what it came to is listed. */
static __always_inline void turn(struct walk *w)
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
		/* One that this was slipped beneath has got it as its parent. */
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
	w->turns_left = slot == OF_SURVEY ? SURVEY_TURNS : WALK_TURNS;
	w->alone = 0;
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

/* Say which mount the walk must come by, if it is after new ones and that is one. */
static __always_inline void expect(u32 slot, u64 unique)
{
	struct walk *w = walks.lookup(&slot);

	if (w && w->watermark && unique > w->watermark)
		w->expected = unique;
}

/* Walk downwards from the root of the namespace's tree, to what comes next to a unique id. */
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

/* Where a list that is not whole has come to. */
static __always_inline u64 place_of(struct walk *w)
{
#ifdef MNT_NS_TREE
	return w->newest;
#else
	return w->passed;
#endif
}

/* Go on from there with a list of a whole namespace that was too long for one walk; from the beginning
 * if what was there last is gone. */
static __always_inline void go_on_after(u64 place)
{
	u32 slot = OF_SURVEY;
	struct walk *w = walks.lookup(&slot);

	if (!w)
		return;
#ifdef MNT_NS_TREE
	begin_downwards(w, place);
#else
	if (FIELD(u64, place - MOUNT_LIST, MOUNT_NS) != w->start)
		return;
	w->node = FIELD(u64, place, 0);
#endif
	w->record.first = 0;
}

/* Begin anew, unless that was done too often. */
static __always_inline bool again(struct walk *w)
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

/* Has the walk come to where it was before? A mark is left at every step whose number is a power of
 * two (R. P. Brent, 1980). */
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

/* Get ready to walk over a namespace; false if there is nothing to walk over. */
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

/* Get ready to list a mount of a namespace that a call may have changed, and nothing else. */
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

/* Go on with the walk. True if it is at an end; if that is not PHASE_DONE, it has gone astray too often
 * or is too long. */
static __always_inline bool go_on(struct walk *w)
{
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; MAY_TURN(i); i++) {
		u32 left = w->turns_left;

		if (w->phase == PHASE_DONE) {
			/* What several walks do not come by was read from an event that was freed meanwhile. */
			if (!w->expected || w->met || !again(w))
				return true;
		}
		if (!left)
			return true;
		w->turns_left = left - 1;
		if (w->count >= ENTRIES)
			send_mounts(w, 0);
		turn(w);
		if (goes_in_circles(w) && !again(w)) {
			w->phase = PHASE_ASTRAY;
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

/*
 * Walks over struct mount: the mounts that a call made, with their peers and slaves in every
 * namespace, and all mounts of one namespace.
 *
 * Nothing is locked: each pointer is read with read_kernel(), and what changes meanwhile
 * is told apart in user space by unique ids, which are never used twice. A walk that a change led
 * astray, so that it goes round in circles or misses what fanotify has told of, begins anew, and
 * then goes downwards only: at no moment do the tree's child pointers make a loop, as the parents'
 * do while it is turned (lib/rbtree.c). The state lives in a map and is read through volatile, so that the turns of the loop look alike to the
 * verifier; a walk that is not through after WALK_STEPS goes on by tail call.
 */
#ifndef MNTTRACE_PROPAGATION_H
#define MNTTRACE_PROPAGATION_H

#ifdef CAN_WALK

#define WALK_STEPS 128
#define WALK_CALLS 30
#define WALK_RESTARTS 4

/* What the walk does now. */
#define PHASE_NAMESPACE 1
#define PHASE_TREE 2
#define PHASE_PROPAGATE 3
#define PHASE_DONE 4
#define PHASE_ASTRAY 5

/* Where it is in the red-black tree of a namespace's mounts, or in the tree of mounts. */
#define AT_NODE 1
#define TO_FAR_END 2
#define UPWARDS 3
#define FROM_ROOT 4

#define RB_RIGHT 8
#define RB_LEFT 16

struct walk {
	struct mounts_record record;
	struct mount_entry entries[ENTRIES];
	u8 mount[STRUCT_MOUNT_SIZE];
	volatile u64 watermark;
	volatile u64 newest;
	volatile u64 node;
	volatile u64 cursor;
	volatile u64 origin;
	volatile u64 origin_unique;
	volatile u64 origin_master;
	volatile u64 top;
	volatile u64 top_root;
	volatile u64 top_mountpoint;
	volatile u64 above;
	volatile u64 start;
	volatile u64 expected;
	volatile u64 mark;
	volatile u64 best;
	volatile u64 passed;
	volatile u32 steps;
	volatile u32 met;
	volatile u32 restarts;
	volatile u32 phase;
	volatile u32 back;
	volatile u32 at;
	volatile u32 down;
	volatile u32 whole;
	volatile u32 count;
	volatile u32 calls;
};

BPF_PERCPU_ARRAY(walks, struct walk, 1);
/* The highest unique id that any walk has come by: mounts at or below it are not new. */
BPF_ARRAY(newest_seen, u64, 1);

static __always_inline u64 unique_of(u64 mount)
{
	return FIELD(u64, mount, MOUNT_ID_UNIQUE);
}

static __always_inline u64 newest_of(u64 mntns)
{
	u32 zero = 0;
	u64 *seen = newest_seen.lookup(&zero);
	u64 node = FIELD(u64, mntns, MNT_NS_LAST_NODE);
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

/* A descriptor that a call returned may be that of a detached tree, whose mounts are not new to
 * the next call. */
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
	w->record.count = w->count;
	w->record.last = last;
	w->count = 0;
	/* Keeps the compiler from turning the comparison into one that the verifier cannot use. */
	asm volatile("" : "+r"(size));
	if (size > sizeof(w->record) + sizeof(w->entries))
		return;
	if (events.ringbuf_output(w, size, BPF_RB_NO_WAKEUP))
		count(LOST_MOUNTS);
	else
		count(SENT_MOUNTS);
	w->record.first = 0;
}

#define COPIED(type, offset) (*(type *)(w->mount + (offset)))

/* Append the mount whose struct is in w->mount to the list. */
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

	e->unique = COPIED(u64, MOUNT_ID_UNIQUE);
	e->parent_unique = unique_of(parent);
	e->origin_unique = how == HOW_CARRIED ? w->origin_unique : 0;
	e->root = COPIED(u64, MOUNT_MNT + VFSMOUNT_ROOT);
	e->mountpoint = COPIED(u64, MOUNT_MOUNTPOINT);
	e->root_hash = dentry_hash(e->root);
	e->mountpoint_hash = dentry_hash(e->mountpoint);
	e->mount_id = COPIED(u32, MOUNT_ID);
	e->parent_id = FIELD(u32, parent, MOUNT_ID);
	e->mntns = mntns_inode(mntns);
	e->mntns_id = mntns_id(mntns);
	e->group = COPIED(u32, MOUNT_GROUP);
	e->master = master ? FIELD(u32, master, MOUNT_GROUP) : 0;
	e->device = FIELD(u32, sb, SB_DEV);
	e->flags = COPIED(u32, MOUNT_MNT + VFSMOUNT_FLAGS);
	e->super_flags = FIELD(u32, sb, SB_FLAGS);
	e->spare = 0;
#ifdef MOUNT_T_FLAGS
	/* T_UNBINDABLE of 6.17, where it was MNT_UNBINDABLE before. */
	if (COPIED(u32, MOUNT_T_FLAGS) & 2)
		e->flags |= 0x2000;
#endif
	e->how = how;
	read_kernel_str(e->fstype, sizeof(e->fstype),
				  (void *)FIELD(u64, FIELD(u64, sb, SB_TYPE), FS_TYPE_NAME));
	/* Without any source it is "none" in mountinfo; an empty one is empty there. */
	if (read_kernel_str(e->devname, sizeof(e->devname),
			    (void *)COPIED(u64, MOUNT_DEVNAME)) < 0)
		__builtin_memcpy(e->devname, "none", 5);
	if (e->unique > w->newest)
		w->newest = e->unique;
	if (e->unique == w->expected)
		w->met = 1;
	w->count = n + 1;
}

static __always_inline void propagate_from(struct walk *w, u64 mount)
{
	w->origin = mount;
	w->origin_unique = COPIED(u64, MOUNT_ID_UNIQUE);
	w->origin_master = COPIED(u64, MOUNT_MASTER);
	w->cursor = mount;
	w->down = 1;
	w->back = w->phase;
	w->phase = PHASE_PROPAGATE;
}

static __always_inline bool is_new(struct walk *w, u64 mount)
{
	return unique_of(mount) > w->watermark;
}

static __always_inline u64 first_slave(u64 mount)
{
	u64 first = FIELD(u64, mount, MOUNT_SLAVE_LIST);

#ifdef SLAVES_ARE_HLIST
	return first ? first - MOUNT_SLAVE : 0;
#else
	return first != mount + MOUNT_SLAVE_LIST ? first - MOUNT_SLAVE : 0;
#endif
}

static __always_inline u64 next_slave(u64 mount, u64 master)
{
	u64 next = FIELD(u64, mount, MOUNT_SLAVE);

#ifdef SLAVES_ARE_HLIST
	return next ? next - MOUNT_SLAVE : 0;
#else
	return next != master + MOUNT_SLAVE_LIST ? next - MOUNT_SLAVE : 0;
#endif
}

/* One move over the peers and slaves of w->origin, as propagation_next() in fs/pnode.c goes.
 * What is not new is passed by: only a new mount has new slaves. Gives the new mount that it came
 * to, or 0. */
static __always_inline u64 step_propagate(struct walk *w)
{
	u64 mount = w->cursor, next = 0;

	if (w->down) {
		w->down = 0;
		next = first_slave(mount);
	}
	if (!next) {
		u64 master = FIELD(u64, mount, MOUNT_MASTER);

		if (master == w->origin_master) {
			next = FIELD(u64, mount, MOUNT_SHARE) - MOUNT_SHARE;
			if (next == w->origin) {
				w->phase = w->back;
				return 0;
			}
		} else {
			next = next_slave(mount, master);
			if (!next) {
				w->cursor = master;
				return 0;
			}
		}
	}
	w->cursor = next;
	if (!is_new(w, next))
		return 0;
	w->down = 1;
	return next;
}

/* One move from the root of a namespace's tree down to the mount that comes next to w->passed.
 * Gives that one, or 0 on the way to it. */
static __always_inline u64 step_downwards(struct walk *w)
{
	u64 node = w->node, unique;
	bool beyond;

	if (!node) {
		node = w->best;
		w->best = 0;
		w->node = FIELD(u64, w->start, MNT_NS_TREE);
		if (!node) {
			w->phase = PHASE_DONE;
			return 0;
		}
		w->passed = unique_of(node - MOUNT_NODE);
		return node - MOUNT_NODE;
	}
	unique = unique_of(node - MOUNT_NODE);
	beyond = w->whole ? unique > w->passed : unique < w->passed;
	if (beyond)
		w->best = node;
	w->node = FIELD(u64, node, beyond == (w->whole != 0) ? RB_LEFT : RB_RIGHT);
	return 0;
}

/* One move over a namespace's mounts, which are a red-black tree by unique id: from the lowest on
 * if the whole is wanted, else from the highest down. Gives the mount that it came to, or 0. */
static __always_inline u64 step_namespace(struct walk *w)
{
	u32 near = w->whole ? RB_RIGHT : RB_LEFT;
	u64 node = w->node, next;

	if (w->at == FROM_ROOT)
		return step_downwards(w);
	if (w->at == AT_NODE) {
		next = FIELD(u64, node, near);
		w->at = next ? TO_FAR_END : UPWARDS;
		if (next)
			w->node = next;
		return node - MOUNT_NODE;
	}
	if (w->at == TO_FAR_END) {
		next = FIELD(u64, node, RB_RIGHT + RB_LEFT - near);
		if (next)
			w->node = next;
		else
			w->at = AT_NODE;
		return 0;
	}
	next = FIELD(u64, node, 0) & ~3ULL;
	if (!next) {
		w->phase = PHASE_DONE;
		return 0;
	}
	if (FIELD(u64, next, near) != node)
		w->at = AT_NODE;
	w->node = next;
	return 0;
}

/* One move over the tree below w->top, a mount that the caller held a descriptor of: its ids may
 * be older than those of others in the namespace. Gives the mount that it came to, or 0. */
static __always_inline u64 step_tree(struct walk *w)
{
	u64 mount = w->node, next;

	if (w->at == AT_NODE) {
		w->at = TO_FAR_END;
		return mount;
	}
	if (w->at == TO_FAR_END) {
		next = FIELD(u64, mount, MOUNT_MOUNTS);
		w->at = UPWARDS;
		if (next != mount + MOUNT_MOUNTS) {
			w->node = next - MOUNT_CHILD;
			w->at = AT_NODE;
		}
		return 0;
	}
	if (mount == w->top) {
		w->phase = PHASE_DONE;
		return 0;
	}
	u64 parent = FIELD(u64, mount, MOUNT_PARENT);

	next = FIELD(u64, mount, MOUNT_CHILD);
	if (next != parent + MOUNT_MOUNTS) {
		w->node = next - MOUNT_CHILD;
		w->at = AT_NODE;
	} else {
		w->node = parent;
	}
	return 0;
}

/* Is the new mount in w->mount one that another new one was copied to? Copies come behind what
 * they were made from in the ring of peers, or are its slaves (propagate_mnt() in fs/pnode.c). */
static __always_inline bool is_copy(struct walk *w)
{
	u64 master = COPIED(u64, MOUNT_MASTER);

	if (master && is_new(w, master))
		return true;
	u64 before = unique_of(COPIED(u64, MOUNT_SHARE + 8) - MOUNT_SHARE);
	return before > w->watermark && before < COPIED(u64, MOUNT_ID_UNIQUE);
}

/* Is there something new right behind the mount in w->mount among its peers, or first among its
 * slaves? */
static __always_inline bool has_new_copies(struct walk *w, u64 mount)
{
	u64 slave = first_slave(mount);

	return is_new(w, COPIED(u64, MOUNT_SHARE) - MOUNT_SHARE) || (slave && is_new(w, slave));
}

static __always_inline void remember_top(struct walk *w)
{
	w->top_root = COPIED(u64, MOUNT_MNT + VFSMOUNT_ROOT);
	w->top_mountpoint = COPIED(u64, MOUNT_MOUNTPOINT);
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
		how = HOW_CARRIED;
	} else if (phase == PHASE_NAMESPACE) {
		mount = step_namespace(w);
		how = w->whole ? HOW_LISTED : HOW_MADE;
	} else {
		mount = step_tree(w);
		how = HOW_MADE;
	}
	if (!mount)
		return;
	read_kernel(w->mount, sizeof(w->mount), (void *)mount);
	if (how == HOW_MADE && phase == PHASE_NAMESPACE) {
		if (COPIED(u64, MOUNT_ID_UNIQUE) <= w->watermark) {
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
#ifdef MOUNT_OVERMOUNT
	else if (how == HOW_CARRIED) {
		/* One that this was slipped beneath has got it as its parent. */
		u64 above = COPIED(u64, MOUNT_OVERMOUNT);

		if (above && unique_of(above) < COPIED(u64, MOUNT_ID_UNIQUE))
			w->above = above;
	}
#endif
}

static __always_inline struct walk *begin_walk(u32 phase, u64 watermark, u16 why, u64 entered)
{
	u32 zero = 0;
	struct walk *w = walks.lookup(&zero);

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
	w->calls = 0;
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
static __always_inline void expect(u64 unique)
{
	u32 zero = 0;
	struct walk *w = walks.lookup(&zero);

	if (w && w->watermark && unique > w->watermark)
		w->expected = unique;
}

/* Walk downwards from the root of the namespace's tree, to what comes next to a unique id. */
static __always_inline void begin_downwards(struct walk *w, u64 passed)
{
	w->node = FIELD(u64, w->start, MNT_NS_TREE);
	w->at = FROM_ROOT;
	w->best = 0;
	w->passed = passed;
}

/* Go on with a list of a whole namespace that was too long for one walk. */
static __always_inline void go_on_after(u64 unique)
{
	u32 zero = 0;
	struct walk *w = walks.lookup(&zero);

	if (!w)
		return;
	w->record.first = 0;
	begin_downwards(w, unique);
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
static __always_inline bool begin_namespace(u64 mntns, u64 watermark, u16 why, u64 entered)
{
	struct walk *w = begin_walk(PHASE_NAMESPACE, watermark, why, entered);

	if (!w)
		return false;
	w->record.mntns = mntns_inode(mntns);
	w->record.mntns_id = mntns_id(mntns);
	w->start = mntns;
	w->node = FIELD(u64, mntns, w->whole ? MNT_NS_FIRST_NODE : MNT_NS_LAST_NODE);
	return w->node != 0;
}

static __always_inline bool begin_tree(u64 mount, u64 watermark, u64 entered)
{
	struct walk *w = begin_walk(PHASE_TREE, watermark, LIST_MADE, entered);

	if (!w)
		return false;
	w->record.mntns = 0;
	w->record.mntns_id = 0;
	w->top = w->node = mount;
	return true;
}

/* Go on with the walk. True if it is through, or has gone astray too often: not PHASE_DONE then. */
static __always_inline bool go_on(struct walk *w)
{
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < WALK_STEPS; i++) {
		if (w->phase == PHASE_DONE) {
			/* What several walks do not come by was read from an event that was freed meanwhile. */
			if (!w->expected || w->met || !again(w))
				return true;
		}
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

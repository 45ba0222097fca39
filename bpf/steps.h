/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* The steps of a walk: over peers and slaves, over a namespace's mounts, over a tree of mounts. */
#ifndef MNTTRACE_STEPS_H
#define MNTTRACE_STEPS_H

#ifdef CAN_WALK

static __always_inline void propagate_from(struct walk *w, u64 mount)
{
	w->origin = mount;
	w->origin_unique = w->unique;
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

/* One step over the peers and slaves of w->origin, in the order of propagation_next() in
 * fs/pnode.c. Returns the mount that it came to if that is new, else 0. It does not go down from
 * others, since only new mounts have new slaves. */
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

#ifdef MNT_NS_TREE
/* One step from the root of a namespace's tree down to the mount whose unique id comes next to
 * w->passed. Returns that one, or 0 on the way to it. */
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

/* One step over a namespace's mounts, which are a red-black tree by unique id: from the lowest
 * upwards if all are wanted, else from the highest downwards. Returns the mount that it came to, or
 * 0. */
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
#else
/* One step over a namespace's mounts, which are a list: from the first one on if all are wanted,
 * else from the last one back. Returns the mount that it came to, or 0. */
static __always_inline u64 step_namespace(struct walk *w)
{
	u64 node = w->node, mount = node - MOUNT_LIST;

	if (!node || node == w->start + MNT_NS_LIST) {
		w->phase = PHASE_DONE;
		return 0;
	}
	w->node = FIELD(u64, node, w->whole ? 0 : 8);
	/* A reader of /proc/PID/mounts: mounts_open_common() in fs/proc_namespace.c. */
	if (FIELD(u32, mount, MOUNT_MNT + VFSMOUNT_FLAGS) & MNT_CURSOR)
		return 0;
	w->passed = node;
	return mount;
}
#endif

/* One step over the tree of w->top, a mount that the caller had a descriptor of: its mounts may be
 * older than others in the namespace. Returns the mount that it came to, or 0. */
static __always_inline u64 step_tree(struct walk *w)
{
	u64 mount = w->node, next;

	if (w->at == AT_NODE) {
		w->at = w->alone ? UPWARDS : TO_FAR_END;
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
#endif
#endif

/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Namespaces that were born, and that fanotify does not report of yet: user space has to mark each
 * of them first. A call that began before that, and that detaches mounts, lists those of them that
 * have changed, so that what it took there is known however late user space gets a processor.
 */
#ifndef MNTTRACE_UNWATCHED_H
#define MNTTRACE_UNWATCHED_H

/* When a removal began is not known. */
#define AT_ANY_TIME 1

#if defined(FANOTIFY_MNT_ID) && !defined(HOOKS) && defined(MNT_NS_EVENT) && defined(MAY_GOTO)
#define LISTS_UNWATCHED

/* So many are kept, each at one of the places that come after its id's remainder. */
#define UNWATCHED_KEPT 256
#define UNWATCHED_PLACES 16
/* Lists after one call: each is a program, by tail call, of which the kernel runs 33. */
#define UNWATCHED_LISTED 28
/* Calls that began longer ago than this, ns, before a namespace was marked are not looked for. */
#define UNWATCHED_FOR 1000000000

struct unwatched {
	u64 mntns;
	/* The kernel's number of the last change when it was listed; it is another one once a mount
	 * was attached or detached (touch_mnt_namespace() in fs/namespace.c). */
	u64 event;
	/* Calls that begin after this time are reported by fanotify; 0: none are yet. */
	u64 watched;
	u32 inode;
	u32 spare;
};

/* By unique id. */
BPF_HASH(unwatched, u64, struct unwatched, 2 * UNWATCHED_KEPT);
/* The unique ids, each at its remainder. */
BPF_ARRAY(unwatched_ids, u64, UNWATCHED_KEPT);
BPF_ARRAY(unwatched_count, s64, 1);
/* Where a program has come to in `unwatched_ids`. */
BPF_PERCPU_ARRAY(unwatched_at, u32, SLOTS);

static __always_inline bool are_unwatched(void)
{
	u32 zero = 0;
	s64 *number = unwatched_count.lookup(&zero);

	return number && *number > 0;
}

/* Forget one; false if another program has. */
static __always_inline bool forget_unwatched(u64 id)
{
	u32 zero = 0;
	s64 *number = unwatched_count.lookup(&zero);

	if (!number || unwatched.delete(&id))
		return false;
	__sync_fetch_and_add(number, -1);
	return true;
}

/* From now on fanotify reports of one. */
static __always_inline void end_as_unwatched(u64 id)
{
	struct unwatched *known = unwatched.lookup(&id);

	if (known)
		known->watched = bpf_ktime_get_ns();
}

/* Whether a namespace still has mounts. What was freed has another id. */
static __always_inline bool is_alive(u64 mntns, u64 id)
{
	return FIELD(u64, mntns, MNT_NS_ID) == id && FIELD(u64, mntns, MNT_NS_TREE);
}

static __always_inline void send_ended(u64 id, u32 inode)
{
	struct ended_record r = {};

	r.kind = RECORD_ENDED;
	r.mntns = inode;
	r.mntns_id = id;
	r.at = bpf_ktime_get_ns();
	if (events.ringbuf_output(&r, sizeof(r), BPF_RB_NO_WAKEUP))
		count(LOST_ENDED);
	else
		count(SENT_ENDED);
}

/* A place for a namespace in `unwatched_ids`; NULL if there is none. Places of those that have ended
 * are free once these were sent. */
static __always_inline u64 *free_place(u64 id)
{
	u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < UNWATCHED_PLACES; i++) {
		u32 at = (id + i) % UNWATCHED_KEPT;
		u64 *place = unwatched_ids.lookup(&at), old;

		if (!place)
			return NULL;
		old = *place;
		if (!old || old == id || !unwatched.lookup(&old))
			return place;
	}
	return NULL;
}

/* A namespace was born; it is listed after this. */
static __always_inline void add_unwatched(u64 mntns)
{
	struct unwatched new = {};
	u64 id = mntns_id(mntns), *place;
	u32 zero = 0;
	s64 *number = unwatched_count.lookup(&zero);

	if (!id || !number || watched.lookup(&id))
		return;
	place = free_place(id);
	new.mntns = mntns;
	new.inode = mntns_inode(mntns);
	new.event = FIELD(u64, mntns, MNT_NS_EVENT);
	if (!place || unwatched.insert(&id, &new)) {
		count(CUT_UNWATCHED);
		return;
	}
	*place = id;
	__sync_fetch_and_add(number, 1);
}

/* Go on to the next one that has changed since it was listed, but for the caller's own; 0 if there
 * is none. `began` is when the call did, or 0: then none is looked for. Those that have ended are
 * sent. */
static __always_inline u64 next_unwatched(u32 slot, u64 own, u64 began)
{
	volatile u32 *position = (volatile u32 *)unwatched_at.lookup(&slot);
	u64 now = bpf_ktime_get_ns();

	if (!position)
		return 0;
	while (may_goto()) {
		u32 at = *position;
		u64 *place, id;

		if (at >= UNWATCHED_KEPT)
			return 0;
		*position = at + 1;
		place = unwatched_ids.lookup(&at);
		if (!place || !*place)
			continue;
		id = *place;
		struct unwatched *known = unwatched.lookup(&id);

		if (!known) {
			*place = 0;
			continue;
		}
		u64 mntns = known->mntns, since = known->watched;
		u32 inode = known->inode;
		bool has_ended = !is_alive(mntns, id);

		if (has_ended || (since && now - since > UNWATCHED_FOR)) {
			*place = 0;
			if (forget_unwatched(id) && !since)
				send_ended(id, inode);
			continue;
		}
		if (mntns == own || !began || (since && began > since))
			continue;
		u64 event = FIELD(u64, mntns, MNT_NS_EVENT);

		if (event == known->event)
			continue;
		known->event = event;
		/* If it changes meanwhile it is listed again. */
		*position = at;
		return mntns;
	}
	return 0;
}

/* The namespace that is about to be listed was born just now. */
static __always_inline void add_listed(u32 slot)
{
	struct walk *w = walks.lookup(&slot);

	if (w)
		add_unwatched(w->start);
}

/* Send which of them have ended: before a call begins, so that it is not taken for what it did. */
static __always_inline void send_all_ended(u32 slot)
{
	u32 *position = unwatched_at.lookup(&slot);

	if (!position || !are_unwatched())
		return;
	*position = 0;
	next_unwatched(slot, 0, 0);
}

/* Begin to look at them after a call; the lists are made by begin_unwatched(). */
static __always_inline void look_at_unwatched(u32 slot)
{
	struct walk *w = walks.lookup(&slot);
	u32 *position = unwatched_at.lookup(&slot);

	if (!w || !position)
		return;
	w->unwatched = 0;
	*position = are_unwatched() ? 0 : UNWATCHED_KEPT;
}

/* Begin the list of the next one that has changed; false if there is none. `began` is when the call
 * did, as far as that is known, and `entered` what its records have for that. */
static __always_inline bool begin_unwatched(u32 slot, u64 began, u64 entered)
{
	struct walk *w = walks.lookup(&slot);
	u64 mntns = next_unwatched(slot, current_mntns(), began);

	if (!w || !mntns)
		return false;
	if (w->unwatched >= UNWATCHED_LISTED) {
		count(CUT_UNWATCHED);
		return false;
	}
	w->unwatched++;
	return begin_namespace(slot, mntns, 0, LIST_UNWATCHED, entered);
}
#else
static __always_inline void add_listed(u32 slot)
{
}

static __always_inline void send_all_ended(u32 slot)
{
}

static __always_inline void look_at_unwatched(u32 slot)
{
}

static __always_inline bool begin_unwatched(u32 slot, u64 began, u64 entered)
{
	return false;
}
#endif
#endif

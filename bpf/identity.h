/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Unique ids of mounts, which are never used again, and are higher for newer mounts: the kernel's
 * mnt_id_unique, or before 6.8 a number that a kernel hook gives each mount when it is made.
 */
#ifndef MNTTRACE_IDENTITY_H
#define MNTTRACE_IDENTITY_H

#if defined(MOUNT_ID_UNIQUE)
static __always_inline u64 unique_of(u64 mount)
{
	return FIELD(u64, mount, MOUNT_ID_UNIQUE);
}
#elif defined(HOOK_NUMBERED)
/* The same as FIRST_MADE_UP in mnttrace/capture/join/mountinfo_entries.py. */
#define FIRST_NUMBER (1ULL << 62)

BPF_HASH(numbers, u64, u64, 131072);

/* Mounts without a number are older than the hooks. They were all there at one time, so that mnt_id
 * tells them apart. */
static __always_inline u64 unique_of(u64 mount)
{
	u64 *number = numbers.lookup(&mount);

	if (number)
		return *number;
	return mount ? FIRST_NUMBER + FIELD(u32, mount, MOUNT_ID) : 0;
}

static __always_inline u64 number_now(void)
{
	return FIRST_NUMBER | bpf_ktime_get_ns() << 4 | (bpf_get_smp_processor_id() & 15);
}

static __always_inline void give_number(u64 mount)
{
	u64 number = number_now();

	if (numbers.update(&mount, &number))
		count(LOST_NUMBER);
}

static __always_inline void take_number(u64 mount)
{
	numbers.delete(&mount);
}
#else
static __always_inline u64 unique_of(u64 mount)
{
	return 0;
}
#endif

/* The unique id and the mount id: in one read, where they lie side by side. */
static __always_inline void ids_of(u64 mount, u64 *unique, u32 *id)
{
#if defined(MOUNT_ID_UNIQUE) && MOUNT_ID == MOUNT_ID_UNIQUE + 8
	u64 both[2];

	read_two(both, mount + MOUNT_ID_UNIQUE);
	*unique = both[0];
	*id = both[1];
#else
	*unique = unique_of(mount);
	*id = FIELD(u32, mount, MOUNT_ID);
#endif
}
#endif

/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* Reads of the kernel's structs, by offsets from BTF. Addresses are kept as numbers. */
#ifndef MNTTRACE_KERNEL_H
#define MNTTRACE_KERNEL_H

/*
 * bpf_probe_read_user() and so on, by other names: where bcc sees those it reads all of
 * /proc/kallsyms to find out whether the kernel has them, which takes as long as compiling.
 */
static long (*read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static long (*read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;

#ifdef MAY_GOTO
/*
 * The condition of a loop without a counter. The verifier goes through such a loop until it comes
 * to a state that it has seen, where it goes through each iteration of one that counts. The
 * instruction may_goto is there from Linux 6.9 on, but up to 6.12 the verifier gives up on long
 * loops: see takes_may_goto(). LLVM 14 does not know it, hence the bytes. False after 2^23
 * iterations or a quarter of a second.
 */
static __always_inline bool may_goto(void)
{
	asm volatile goto(".byte 0xe5, 0\n.long (%l[over] - . - 6) / 8 & 0xffff\n.short 0" : : : : over);
	return true;
over:
	return false;
}
#endif

#ifdef RDONLY_CAST
/*
 * bpf_rdonly_cast() of an address to void * (Linux 6.17), or to a pointer to a struct that begins
 * with an array of 65 bytes (6.2): see mnttrace/probes/facts.py. A read through that pointer is one
 * instruction and not a call of a helper; if it fails it gives 0, as read_kernel() leaves it. The
 * verifier replaces the cast by a move. It is written as bytes, since clang cannot call the
 * kernel's functions here without their BTF.
 */
static __always_inline void *readable(u64 address)
{
	void *pointer;

	asm("r1 = %1\n"
	    "r2 = %3\n"
	    ".byte 0x85, 0x20, 0, 0\n"
	    ".long %2\n"
	    "%0 = r0"
	    : "=r"(pointer)
	    : "r"(address), "i"(RDONLY_CAST), "i"(RDONLY_TYPE)
	    : "r0", "r1", "r2", "r3", "r4", "r5");
	return pointer;
}

#define FIELD(type, base, offset) (*(volatile type *)readable((base) + (offset)))
#else
#define FIELD(type, base, offset)                                                                  \
	({                                                                                         \
		type value_ = 0;                                                                   \
		read_kernel(&value_, sizeof(value_), (void *)((base) + (offset)));       \
		value_;                                                                            \
	})
#endif

/* Two words that lie side by side, by one call where reads are calls. */
static __always_inline void read_two(u64 words[2], u64 address)
{
#ifdef RDONLY_CAST
	words[0] = FIELD(u64, address, 0);
	words[1] = FIELD(u64, address, 8);
#else
	words[0] = words[1] = 0;
	read_kernel(words, 16, (void *)address);
#endif
}

#define NSFS_MAGIC 0x6e736673

/*
 * A map that the recorder has in its memory, and reads and writes there while it records. A bpf(2)
 * call on a map keeps all programs on tracepoints and by kprobe_multi from running on its processor
 * meanwhile (bpf_disable_instrumentation() in kernel/bpf/syscall.c), which is long if the caller is
 * preempted.
 */
#define MAPPED(type, name, count) BPF_F_TABLE("array", u32, type, name, count, 1 << 10)

MAPPED(u64, losses, LOSS_KINDS);
BPF_RINGBUF_OUTPUT(events, 1); /* its size is that of each recording */

static __always_inline void count(u32 kind)
{
	u64 *n = losses.lookup(&kind);

	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline u64 current_mntns(void)
{
	u64 nsproxy = FIELD(u64, bpf_get_current_task(), TASK_NSPROXY);

	return nsproxy ? FIELD(u64, nsproxy, NSPROXY_MNT_NS) : 0;
}

#define ANONYMOUS_INODE 0xEFFFFFF7 /* MNT_NS_ANON_INO, since 6.18; before that 0 */

/* 0 for an anonymous namespace, which holds a detached tree. */
static __always_inline u32 mntns_inode(u64 mntns)
{
	u32 inode = mntns ? FIELD(u32, mntns, MNT_NS_INUM) : 0;

	return inode == ANONYMOUS_INODE ? 0 : inode;
}

/* The unique 64-bit id of a mount namespace, or before 6.11, where user space cannot learn that,
 * its inode number. 0 for an anonymous namespace, although newer kernels give those an id, too. */
static __always_inline u64 mntns_id(u64 mntns)
{
	u32 inode = mntns_inode(mntns);
#ifdef MNT_NS_ID
	return inode ? FIELD(u64, mntns, MNT_NS_ID) : 0;
#else
	return inode;
#endif
}

/*
 * A hash of a dentry's name and parent. With the address it tells dentries apart; the address alone
 * does not, since the next dentry may have that of a removed one within a millisecond.
 */
static __always_inline u32 dentry_hash(u64 dentry)
{
#if DENTRY_HASH == DENTRY_PARENT + 8
	u64 both[2];

	read_two(both, dentry + DENTRY_PARENT);
	u64 mixed = both[0] ^ both[1];
#else
	u64 mixed = FIELD(u64, dentry, DENTRY_PARENT) ^ FIELD(u64, dentry, DENTRY_HASH);
#endif

	return mixed * 0x9e3779b97f4a7c15ULL >> 32;
}

/* The struct file of one of the caller's descriptors; 0 if it is not open. */
static __always_inline u64 file_of(s32 descriptor)
{
	u64 files = FIELD(u64, bpf_get_current_task(), TASK_FILES);
	u64 fdt = FIELD(u64, files, FILES_FDT);

	if (descriptor < 0 || (u32)descriptor >= FIELD(u32, fdt, FDT_MAX_FDS))
		return 0;
	return FIELD(u64, FIELD(u64, fdt, FDT_FD) + (u64)descriptor * 8, 0);
}

static __always_inline u64 inode_magic(u64 inode)
{
	return FIELD(u64, FIELD(u64, inode, INODE_SB), SB_MAGIC);
}

/* The CLONE_NEW… bit of the namespace that an inode of nsfs stands for; 0 for other inodes. */
static __always_inline u32 namespace_type(u64 inode, u64 magic)
{
	if (magic != NSFS_MAGIC)
		return 0;
	u64 ns = FIELD(u64, inode, INODE_PRIVATE);
#ifdef NS_COMMON_TYPE
	return FIELD(u32, ns, NS_COMMON_TYPE);
#else
	return FIELD(u32, FIELD(u64, ns, NS_COMMON_OPS), NS_OPERATIONS_TYPE);
#endif
}

static __always_inline u32 namespace_inode(u64 inode)
{
	return FIELD(u32, FIELD(u64, inode, INODE_PRIVATE), NS_COMMON_INUM);
}

static __always_inline u32 file_namespace_type(u64 file)
{
	u64 inode = FIELD(u64, file, FILE_INODE);

	return namespace_type(inode, inode_magic(inode));
}

/* The mount namespace that a file of nsfs stands for. */
static __always_inline u64 file_mntns(u64 file)
{
	return FIELD(u64, FIELD(u64, file, FILE_INODE), INODE_PRIVATE) - MNT_NS_COMMON;
}
#endif

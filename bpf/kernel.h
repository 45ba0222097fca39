/* Reading the kernel's own structs, by offsets from BTF; addresses are kept as numbers. */
#ifndef MNTTRACE_KERNEL_H
#define MNTTRACE_KERNEL_H

/*
 * The helpers by names of our own: where bcc sees bpf_probe_read_user it reads all of
 * /proc/kallsyms to find out whether the kernel has it, which takes as long as compiling.
 */
static long (*read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static long (*read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;

#ifdef MAY_GOTO
/*
 * To be asked in a loop without a counter: the verifier looks at such a loop until its turns are alike,
 * where it looks at each turn of one that counts. The instruction is of Linux 6.9, but 6.12 still looks
 * until it gives up: see takes_may_goto(). LLVM 14 does not have it. False after 2^23 turns, or a
 * quarter of a second.
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
 * The address as a pointer that may be read through, by bpf_rdonly_cast() to void (Linux 6.17): a read
 * is an instruction then, not a call, and one that fails is 0, as read_kernel() leaves it. The verifier
 * makes a move of this call. Bytes, as clang knows no function of the kernel without its BTF.
 */
static __always_inline void *readable(u64 address)
{
	void *pointer;

	asm("r1 = %1\n"
	    "r2 = 0\n"
	    ".byte 0x85, 0x20, 0, 0\n"
	    ".long %2\n"
	    "%0 = r0"
	    : "=r"(pointer)
	    : "r"(address), "i"(RDONLY_CAST)
	    : "r0", "r1", "r2", "r3", "r4", "r5");
	return pointer;
}

#define FIELD(type, base, offset) (*(volatile type *)(readable(base) + (offset)))
#else
#define FIELD(type, base, offset)                                                                  \
	({                                                                                         \
		type value_ = 0;                                                                   \
		read_kernel(&value_, sizeof(value_), (void *)((base) + (offset)));       \
		value_;                                                                            \
	})
#endif

/* Two words that lie side by side: where each read is a call, that is one. */
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
 * What user space reads or writes while it records is mapped into its memory. A bpf(2) call on a map
 * keeps all programs of tracepoints from running on its processor meanwhile
 * (bpf_disable_instrumentation() in the kernel), and on a preemptible kernel its caller may have to
 * wait in it for a long time.
 */
#define MAPPED(type, name, count) BPF_F_TABLE("array", u32, type, name, count, 1 << 10)

MAPPED(u64, losses, LOSS_KINDS);
BPF_RINGBUF_OUTPUT(events, RING_PAGES);

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

static __always_inline u32 mntns_inode(u64 mntns)
{
	return mntns ? FIELD(u32, mntns, MNT_NS_INUM) : 0;
}

/* The namespace's unique 64-bit id; its inode number where nobody is told one (before 6.11). 0 of the
 * anonymous ones that detached trees are in. */
static __always_inline u64 mntns_id(u64 mntns)
{
#ifdef MNT_NS_ID
	return mntns ? FIELD(u64, mntns, MNT_NS_ID) : 0;
#else
	return mntns_inode(mntns);
#endif
}

/*
 * The name and the parent of a dentry in 32 bits. Its address alone does not tell one dentry from
 * another: that of a removed one is used again within a millisecond.
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

/* The struct file of one of the caller's descriptors, 0 if it has none. */
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

/* The CLONE_NEW… bit of the namespace that an inode of nsfs stands for, else 0. */
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

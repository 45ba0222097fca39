/*
 * Where a descriptor or the working directory leads: the names from there up to the process's
 * root, as d_path() goes (fs/d_path.c, prepend_path). bpf_d_path() is not to be had from
 * tracepoints, so the dentries are walked here.
 */
#ifndef MNTTRACE_PATH_H
#define MNTTRACE_PATH_H

#define PATHS 3

struct wanted {
	u32 argument;
	u32 base;
	s32 descriptor;
};

/* The walk's state lives in a map and is read through volatile: the verifier then forgets what
 * each turn of the loop found, and the turns look alike to it. */
struct path_scratch {
	struct path_record record;
	char names[STRING_SIZE + NAME_SIZE];
	struct wanted wanted[4];
	u32 count;
	volatile u32 used;
	volatile u64 vfsmount;
	volatile u64 dentry;
	volatile u64 root_vfsmount;
	volatile u64 root_dentry;
};

BPF_PERCPU_ARRAY(path_scratch, struct path_scratch, 1);

/* Does the text begin with /proc/self/fd/N or /proc/thread-self/fd/N? */
static __always_inline bool proc_descriptor(char *head, s32 *descriptor)
{
	u64 *words = (u64 *)head;
	u32 i, at, value = 0;

	if (words[0] == 0x65732f636f72702fULL && /* "/proc/se" */
	    (words[1] & 0xffffffffffffULL) == 0x2f64662f666cULL) /* "lf/fd/" */
		at = 14;
	else if (words[0] == 0x68742f636f72702fULL && /* "/proc/th" */
		 words[1] == 0x6c65732d64616572ULL && /* "read-sel" */
		 (words[2] & 0xffffffffffULL) == 0x2f64662f66ULL) /* "f/fd/" */
		at = 21;
	else
		return false;
#pragma unroll
	for (i = 0; i < 7; i++) {
		char c = head[(at + i) & 31];

		if (c < '0' || c > '9')
			break;
		value = value * 10 + (c - '0');
	}
	*descriptor = value;
	return true;
}

static __always_inline void want_path(u32 argument, u32 base, s32 descriptor)
{
	u32 zero = 0;
	struct path_scratch *s = path_scratch.lookup(&zero);

	if (!s || s->count >= PATHS)
		return;
	struct wanted *w = &s->wanted[s->count & 3];
	w->argument = argument;
	w->base = base;
	w->descriptor = descriptor;
	s->count++;
}

static __always_inline void describe_mount(struct path_record *r, u64 vfsmount)
{
	u64 mount = vfsmount - MOUNT_MNT;
	u64 mntns = FIELD(u64, mount, MOUNT_NS);

	r->mount_id = FIELD(u32, mount, MOUNT_ID);
#ifdef MOUNT_ID_UNIQUE
	r->mount_unique = FIELD(u64, mount, MOUNT_ID_UNIQUE);
#endif
	/* A mount that is detached has no namespace, or an anonymous one. */
	r->mntns = mntns && mntns != -22ULL ? mntns_inode(mntns) : 0;
}

/* The groups of a mount and of its parent, which decide where an event under it is carried. */
static __always_inline void describe_groups(struct path_record *r, u64 mount)
{
	u64 parent = FIELD(u64, mount, MOUNT_PARENT);
	u64 master = FIELD(u64, parent, MOUNT_MASTER);

	r->group = FIELD(u32, mount, MOUNT_GROUP);
	r->parent_id = FIELD(u32, parent, MOUNT_ID);
	r->parent_group = FIELD(u32, parent, MOUNT_GROUP);
	r->parent_master = master ? FIELD(u32, master, MOUNT_GROUP) : 0;
}

/*
 * The mount of the caller's namespace that is newest by unique id, 0 where the kernel does not
 * keep them so (before 6.16): what a mount call that succeeded has just made.
 */
static __always_inline u64 newest_mount(void)
{
#ifdef MNT_NS_LAST_NODE
	u64 node = FIELD(u64, current_mntns(), MNT_NS_LAST_NODE);

	return node ? node - MOUNT_NODE : 0;
#else
	return 0;
#endif
}

static __always_inline bool begin_path(struct path_scratch *s, struct wanted *w)
{
	struct path_record *r = &s->record;
	u64 fs = FIELD(u64, bpf_get_current_task(), TASK_FS);
	u64 path = fs + FS_PWD;

	__builtin_memset(r, 0, sizeof(*r));
	if (w->base == BASE_MOUNT) {
		u64 mount = newest_mount();

		if (!mount)
			return false;
		/* Its path is that of its root. */
		path = 0;
		s->vfsmount = mount + MOUNT_MNT;
		s->dentry = FIELD(u64, s->vfsmount, VFSMOUNT_ROOT);
		describe_groups(r, mount);
	} else if (w->base != BASE_CWD) {
		u64 file = file_of(w->descriptor);

		if (!file)
			return false;
		path = file + FILE_PATH;
		r->context = FIELD(u64, file, FILE_PRIVATE);
		r->filesystem_magic = file_magic(file);
		r->nsfs_type = file_namespace_type(file);
		if (r->nsfs_type)
			r->nsfs_inode = file_namespace_inode(file);
	}
	r->kind = RECORD_PATH;
	r->argument = w->argument;
	r->base = w->base;
	r->descriptor = w->descriptor;
	r->tid = bpf_get_current_pid_tgid();
	s->used = 0;
	if (path) {
		s->vfsmount = FIELD(u64, path, PATH_MNT);
		s->dentry = FIELD(u64, path, PATH_DENTRY);
	}
	s->root_vfsmount = FIELD(u64, fs + FS_ROOT, PATH_MNT);
	s->root_dentry = FIELD(u64, fs + FS_ROOT, PATH_DENTRY);
	describe_mount(r, s->vfsmount);
	r->at_mount_root = s->dentry == FIELD(u64, s->vfsmount, VFSMOUNT_ROOT);
	return true;
}

/* One step towards the root; false once the path is complete or cannot be gone on with. */
static __always_inline bool step_up(struct path_scratch *s)
{
	u64 vfsmount = s->vfsmount, dentry = s->dentry, parent;

	if (vfsmount == s->root_vfsmount && dentry == s->root_dentry) {
		s->record.complete = 1;
		return false;
	}
	if (dentry == FIELD(u64, vfsmount, VFSMOUNT_ROOT)) {
		u64 mount = vfsmount - MOUNT_MNT;

		parent = FIELD(u64, mount, MOUNT_PARENT);
		if (parent == mount) {
			s->record.complete = 1;
			return false;
		}
		s->dentry = FIELD(u64, mount, MOUNT_MOUNTPOINT);
		s->vfsmount = parent + MOUNT_MNT;
		return true;
	}
	u32 used = s->used;
	if (used > STRING_SIZE - NAME_SIZE)
		return false;
	int n = bpf_probe_read_kernel_str(&s->names[used], NAME_SIZE,
					  (void *)FIELD(u64, dentry, DENTRY_NAME));
	if (n <= 0)
		return false;
	s->used = used + n;
	s->record.depth++;
	parent = FIELD(u64, dentry, DENTRY_PARENT);
	s->dentry = parent;
	/* An object without a directory: [fscontext], a namespace. */
	if (parent == dentry)
		s->record.complete = 1;
	return parent != dentry;
}

/* Send one path record for every path that was asked for. */
static __always_inline void send_paths(u64 entered)
{
	u32 zero = 0, i, j;
	struct path_scratch *s = path_scratch.lookup(&zero);

	if (!s)
		return;
	u32 wanted = s->count;
	s->count = 0;
#pragma clang loop unroll(disable)
	for (j = 0; j < PATHS; j++) {
		if (j >= wanted)
			break;
		if (!begin_path(s, &s->wanted[j & 3]))
			continue;
		s->record.entered = entered;
#pragma clang loop unroll(disable)
		for (i = 0; i < PATH_DEPTH; i++)
			if (!step_up(s))
				break;
		u32 used = s->used;
		if (used > STRING_SIZE)
			continue;
		s->record.names_size = used;
		if (events.ringbuf_output(s, sizeof(s->record) + used, BPF_RB_NO_WAKEUP))
			count(LOST_PATH);
		else
			count(SENT_PATH);
	}
}
#endif

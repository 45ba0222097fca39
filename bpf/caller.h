/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/* The calling process: what of it goes into the record of an operation, and a record of its own. */
#ifndef MNTTRACE_CALLER_H
#define MNTTRACE_CALLER_H

/* The unique id of the mount whose root is the caller's root directory; 0 if that lies deeper. */
static __always_inline u64 root_mount(u64 task)
{
	u64 root = FIELD(u64, task, TASK_FS) + FS_ROOT;
	u64 vfsmount = FIELD(u64, root, PATH_MNT);

	if (FIELD(u64, root, PATH_DENTRY) == FIELD(u64, vfsmount, VFSMOUNT_ROOT))
		return unique_of(vfsmount - MOUNT_MNT);
	return 0;
}

static __always_inline void fill_caller(struct operation_record *r)
{
	u64 task = bpf_get_current_task();
	u64 thread = bpf_get_current_pid_tgid();
	u64 parent = FIELD(u64, task, TASK_REAL_PARENT);
	u64 cred = FIELD(u64, task, TASK_CRED);
	u64 pid = FIELD(u64, task, TASK_THREAD_PID);
	u64 upid = pid + PID_NUMBERS + FIELD(u32, pid, PID_LEVEL) * UPID_SIZE;

	r->pid = thread >> 32;
	r->tid = thread;
	r->parent = FIELD(u32, parent, TASK_TGID);
	r->uid = bpf_get_current_uid_gid();
	r->cgroup = bpf_get_current_cgroup_id();
	r->userns = FIELD(u32, FIELD(u64, cred, CRED_USER_NS), USER_NS_INUM);
	r->pidns = FIELD(u32, FIELD(u64, upid, UPID_NS), PID_NS_INUM);
	r->pid_inside = FIELD(u32, upid, UPID_NR);
	r->root_unique = root_mount(task);
	bpf_get_current_comm(r->comm, sizeof(r->comm));
	r->descends = followed.lookup(&r->pid) != NULL;
}

/* By thread. */
BPF_TABLE("lru_hash", u32, struct ended_thread, ended_threads, 8192);

/* The current thread ends: its namespaces are still there. */
static __always_inline void note_end_of_thread(void)
{
	u64 task = bpf_get_current_task();
	u64 both = bpf_get_current_pid_tgid();
	struct ended_thread ended = {};
	u32 thread = both;

	ended.pid = both >> 32;
	ended.parent = FIELD(u32, FIELD(u64, task, TASK_REAL_PARENT), TASK_TGID);
	ended.uid = bpf_get_current_uid_gid();
	ended.mntns = mntns_inode(current_mntns());
	bpf_get_current_comm(ended.comm, sizeof(ended.comm));
	ended_threads.update(&thread, &ended);
}

/* Send what /proc will not tell of the calling process once it has ended. */
static __always_inline void send_process(u32 slot, struct operation_record *r)
{
	u64 task = bpf_get_current_task();
	u64 mm = FIELD(u64, task, TASK_MM);
	struct sent_process now = {}, *known = processes.lookup(&r->pid);
	struct process_scratch *s = process_scratch.lookup(&slot);

	now.started = FIELD(u64, FIELD(u64, task, TASK_GROUP_LEADER), TASK_STARTED);
	now.executed = FIELD(u32, task, TASK_EXEC_ID);
	if (!s || (known && known->started == now.started && known->executed == now.executed))
		return;
	processes.update(&r->pid, &now);
	u64 start = FIELD(u64, mm, MM_ARG_START);
	u64 size = FIELD(u64, mm, MM_ARG_END) - start;
	u64 parent = FIELD(u64, task, TASK_REAL_PARENT);
	struct process_record *p = &s->record;

	p->kind = RECORD_PROCESS;
	p->pid = r->pid;
	p->entered = r->entered;
	p->started = now.started;
	p->cgroup = r->cgroup;
	p->parent = r->parent;
	p->uid = r->uid;
	p->mntns = r->mntns_before;
	p->mntns_id = r->mntns_id_before;
	p->cut = size > COMMAND_LINE_SIZE;
	__builtin_memcpy(p->comm, r->comm, sizeof(p->comm));
	read_kernel_str(p->parent_comm, sizeof(p->parent_comm),
				  (void *)(parent + TASK_COMM));
	u32 n = size > COMMAND_LINE_SIZE ? COMMAND_LINE_SIZE : size;
	if (!mm || read_user(s->command_line, n, (void *)start))
		n = 0;
	p->size = n;
	if (events.ringbuf_output(s, sizeof(*p) + n, BPF_RB_NO_WAKEUP))
		count(LOST_PROCESS);
	else
		count(SENT_PROCESS);
}
#endif

# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Offsets of the struct members that the BPF programs read, from BTF."""

from __future__ import annotations

from mnttrace.linux.btf import Btf

# Definition for the BPF programs → the names that the member has had, newest first.
_OFFSETS: dict[str, tuple[str, ...]] = {
    "TASK_NSPROXY": ("task_struct.nsproxy",),
    "TASK_REAL_PARENT": ("task_struct.real_parent",),
    "TASK_TGID": ("task_struct.tgid",),
    "TASK_FILES": ("task_struct.files",),
    "TASK_FS": ("task_struct.fs",),
    "TASK_THREAD_PID": ("task_struct.thread_pid",),
    "TASK_CRED": ("task_struct.cred",),
    "TASK_COMM": ("task_struct.comm",),
    "TASK_MM": ("task_struct.mm",),
    "TASK_GROUP_LEADER": ("task_struct.group_leader",),
    "TASK_STARTED": ("task_struct.start_boottime", "task_struct.real_start_time"),
    "TASK_EXEC_ID": ("task_struct.self_exec_id",),
    "TASK_WORKS": ("task_struct.task_works",),
    "MM_ARG_START": ("mm_struct.arg_start",),
    "MM_ARG_END": ("mm_struct.arg_end",),
    "NSPROXY_MNT_NS": ("nsproxy.mnt_ns",),
    "MNT_NS_COMMON": ("mnt_namespace.ns",),
    "MNT_NS_INUM": ("mnt_namespace.ns.inum",),
    # `mounts` is their number up to 6.11, and from 6.12 on the tree of them.
    "MNT_NS_COUNT": ("mnt_namespace.nr_mounts", "mnt_namespace.mounts"),
    "FILES_FDT": ("files_struct.fdt",),
    "FDT_FD": ("fdtable.fd",),
    "FDT_MAX_FDS": ("fdtable.max_fds",),
    "FILE_PATH": ("file.f_path",),
    "FILE_MODE": ("file.f_mode",),
    "FILE_INODE": ("file.f_inode",),
    "FILE_PRIVATE": ("file.private_data",),
    "PATH_MNT": ("path.mnt",),
    "PATH_DENTRY": ("path.dentry",),
    "FS_ROOT": ("fs_struct.root",),
    "FS_PWD": ("fs_struct.pwd",),
    "INODE_PRIVATE": ("inode.i_private",),
    "INODE_SB": ("inode.i_sb",),
    "SB_MAGIC": ("super_block.s_magic",),
    "SB_FLAGS": ("super_block.s_flags",),
    "SB_DEV": ("super_block.s_dev",),
    "SB_TYPE": ("super_block.s_type",),
    "FS_TYPE_NAME": ("file_system_type.name",),
    "NS_COMMON_INUM": ("ns_common.inum",),
    "MOUNT_MNT": ("mount.mnt",),
    "MOUNT_PARENT": ("mount.mnt_parent",),
    "MOUNT_MOUNTPOINT": ("mount.mnt_mountpoint",),
    "MOUNT_ID": ("mount.mnt_id",),
    "MOUNT_GROUP": ("mount.mnt_group_id",),
    "MOUNT_MASTER": ("mount.mnt_master",),
    "MOUNT_NS": ("mount.mnt_ns",),
    "MOUNT_DEVNAME": ("mount.mnt_devname",),
    "MOUNT_MOUNTS": ("mount.mnt_mounts",),
    "MOUNT_CHILD": ("mount.mnt_child",),
    "MOUNT_SHARE": ("mount.mnt_share",),
    "MOUNT_SLAVE_LIST": ("mount.mnt_slave_list",),
    "MOUNT_SLAVE": ("mount.mnt_slave",),
    "MOUNT_WORK": ("mount.mnt_rcu",),
    "VFSMOUNT_ROOT": ("vfsmount.mnt_root",),
    "VFSMOUNT_SB": ("vfsmount.mnt_sb",),
    "VFSMOUNT_FLAGS": ("vfsmount.mnt_flags",),
    "DENTRY_PARENT": ("dentry.d_parent",),
    "DENTRY_INODE": ("dentry.d_inode",),
    "DENTRY_NAME": ("dentry.d_name.name", "dentry.__d_name.name"),
    "DENTRY_HASH": ("dentry.d_name.hash_len", "dentry.__d_name.hash_len"),
    "PID_LEVEL": ("pid.level",),
    "PID_NUMBERS": ("pid.numbers",),
    "UPID_NR": ("upid.nr",),
    "UPID_NS": ("upid.ns",),
    "PID_NS_INUM": ("pid_namespace.ns.inum",),
    "CRED_USER_NS": ("cred.user_ns",),
    "USER_NS_INUM": ("user_namespace.ns.inum",),
}

_OPTIONAL: dict[str, tuple[str, ...]] = {
    "MNT_NS_ID": ("mnt_namespace.ns.ns_id", "mnt_namespace.seq"),  # ns_id from 6.18 on
    "MNT_NS_LAST_NODE": ("mnt_namespace.mnt_last_node",),  # this and the next from 6.16 on
    "MNT_NS_FIRST_NODE": ("mnt_namespace.mnt_first_node",),
    "MNT_NS_TREE": ("mnt_namespace.mounts",),
    "MNT_NS_EVENT": ("mnt_namespace.event",),
    "MOUNT_NODE": ("mount.mnt_node",),  # from 6.8 on; before it they are a list
    "MNT_NS_LIST": ("mnt_namespace.list",),
    "MOUNT_LIST": ("mount.mnt_list",),
    "MOUNT_ID_UNIQUE": ("mount.mnt_id_unique",),  # from 6.8 on
    "NS_COMMON_TYPE": ("ns_common.ns_type",),  # from 6.18 on, before it in the operations
    "NS_COMMON_OPS": ("ns_common.ops",),
    "NS_OPERATIONS_TYPE": ("proc_ns_operations.type",),
    "MOUNT_T_FLAGS": ("mount.mnt_t_flags",),  # this and the next from 6.17 on
    "MOUNT_OVERMOUNT": ("mount.overmount",),
    "FANOTIFY_MNT_ID": ("fanotify_mnt_event.mnt_id",),  # from 6.15 on
    "FANOTIFY_PID": ("fanotify_event.pid",),
    "FANOTIFY_MASK": ("fanotify_event.mask",),
    "FSNOTIFY_EVENT_LIST": ("fsnotify_event.list",),
    "GROUP_LIST": ("fsnotify_group.notification_list",),
    "TASK_STATUS": ("task_struct.thread_info.status",),  # of x86-64
    # Of x86-64, arm64 and RISC-V.
    "REGISTER_OF_0": ("pt_regs.di", "pt_regs.regs", "pt_regs.a0"),
    "REGISTER_OF_1": ("pt_regs.si", "pt_regs.regs", "pt_regs.a1"),
    "REGISTER_OF_RESULT": ("pt_regs.ax", "pt_regs.regs", "pt_regs.a0"),
    # A call's arguments in the registers of user space; then those of a 32-bit one of x86-64.
    "CALL_ARGUMENT_0": ("pt_regs.di", "pt_regs.regs", "pt_regs.orig_a0"),
    "CALL_ARGUMENT_1": ("pt_regs.si", "pt_regs.regs", "pt_regs.a1"),
    "CALL_ARGUMENT_2": ("pt_regs.dx", "pt_regs.regs", "pt_regs.a2"),
    "CALL_ARGUMENT_3": ("pt_regs.r10", "pt_regs.regs", "pt_regs.a3"),
    "CALL_ARGUMENT_4": ("pt_regs.r8", "pt_regs.regs", "pt_regs.a4"),
    "COMPAT_ARGUMENT_0": ("pt_regs.bx",),
    "COMPAT_ARGUMENT_1": ("pt_regs.cx",),
    "COMPAT_ARGUMENT_2": ("pt_regs.dx",),
    "COMPAT_ARGUMENT_3": ("pt_regs.si",),
    "COMPAT_ARGUMENT_4": ("pt_regs.di",),
}
# Those of an array of registers have the number of theirs.
_OF_ARRAY = ("REGISTER_OF_0", "REGISTER_OF_1", "CALL_ARGUMENT_")
# With all of these the programs can list the mounts that a call made.
_WALK = {"MNT_NS_TREE", "MOUNT_NODE", "MOUNT_ID_UNIQUE"}
# Or with these, if kernel hooks number the mounts.
LISTS = {"MNT_NS_LIST", "MOUNT_LIST"}


def definitions(btf: Btf) -> dict[str, int]:
    """Definition → byte offset, for every member that the BPF programs read on this kernel.

    Raises:
        NoSuchMember: this kernel lacks a member that no program can do without.
    """
    found = {"UPID_SIZE": btf.size("upid"), "STRUCT_MOUNT_SIZE": btf.size("mount")}
    for name, paths in _OFFSETS.items():
        first = btf.first(*paths)
        found[name] = first[1] if first else btf.offset(paths[0])
    for name, paths in _OPTIONAL.items():
        if first := btf.first(*paths):
            found[name] = first[1]
    for name in LISTS if "MOUNT_NODE" in found else {"MNT_NS_TREE"}:
        found.pop(name, None)
    if found.keys() >= _WALK:
        found["CAN_WALK"] = 1
    if btf.first("pt_regs.regs"):  # an array, on arm64
        for name in [*found]:
            if name.startswith(_OF_ARRAY):
                found[name] += 8 * int(name[-1])
    if "hlist" in btf.member_type("mount.mnt_slave"):  # from 6.17 on
        found["SLAVES_ARE_HLIST"] = 1
    return found

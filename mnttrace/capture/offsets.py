"""Where the kernel keeps what the BPF programs read, asked of BTF; newest name first."""

from __future__ import annotations

from mnttrace.linux.btf import Btf

# Definition in the BPF programs: the paths that it has had, newest first.
_OFFSETS: dict[str, tuple[str, ...]] = {
    "TASK_NSPROXY": ("task_struct.nsproxy",),
    "TASK_REAL_PARENT": ("task_struct.real_parent",),
    "TASK_TGID": ("task_struct.tgid",),
    "TASK_FILES": ("task_struct.files",),
    "TASK_FS": ("task_struct.fs",),
    "TASK_THREAD_PID": ("task_struct.thread_pid",),
    "TASK_CRED": ("task_struct.cred",),
    "NSPROXY_MNT_NS": ("nsproxy.mnt_ns",),
    "MNT_NS_INUM": ("mnt_namespace.ns.inum",),
    "FILES_FDT": ("files_struct.fdt",),
    "FDT_FD": ("fdtable.fd",),
    "FDT_MAX_FDS": ("fdtable.max_fds",),
    "FILE_PATH": ("file.f_path",),
    "FILE_INODE": ("file.f_inode",),
    "FILE_PRIVATE": ("file.private_data",),
    "PATH_MNT": ("path.mnt",),
    "PATH_DENTRY": ("path.dentry",),
    "FS_ROOT": ("fs_struct.root",),
    "FS_PWD": ("fs_struct.pwd",),
    "INODE_PRIVATE": ("inode.i_private",),
    "INODE_SB": ("inode.i_sb",),
    "SB_MAGIC": ("super_block.s_magic",),
    "NS_COMMON_INUM": ("ns_common.inum",),
    "MOUNT_MNT": ("mount.mnt",),
    "MOUNT_PARENT": ("mount.mnt_parent",),
    "MOUNT_MOUNTPOINT": ("mount.mnt_mountpoint",),
    "MOUNT_ID": ("mount.mnt_id",),
    "MOUNT_GROUP": ("mount.mnt_group_id",),
    "MOUNT_MASTER": ("mount.mnt_master",),
    "MOUNT_NS": ("mount.mnt_ns",),
    "VFSMOUNT_ROOT": ("vfsmount.mnt_root",),
    "DENTRY_PARENT": ("dentry.d_parent",),
    "DENTRY_NAME": ("dentry.d_name.name", "dentry.__d_name.name"),
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
    "MNT_NS_LAST_NODE": ("mnt_namespace.mnt_last_node",),  # from 6.16 on
    "MOUNT_NODE": ("mount.mnt_node",),  # from 6.12 on
    "MOUNT_ID_UNIQUE": ("mount.mnt_id_unique",),  # from 6.8 on
    "NS_COMMON_TYPE": ("ns_common.ns_type",),  # from 6.18 on, before it in the operations
    "NS_COMMON_OPS": ("ns_common.ops",),
    "NS_OPERATIONS_TYPE": ("proc_ns_operations.type",),
}


def definitions(btf: Btf) -> dict[str, int]:
    """Name → byte offset, for every struct member that the BPF programs read on this kernel.

    Raises:
        NoSuchMember: a member that they cannot do without is not there.
    """
    found = {"UPID_SIZE": btf.size("upid")}
    for name, paths in _OFFSETS.items():
        first = btf.first(*paths)
        found[name] = first[1] if first else btf.offset(paths[0])
    for name, paths in _OPTIONAL.items():
        if first := btf.first(*paths):
            found[name] = first[1]
    return found

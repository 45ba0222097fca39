# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The BPF programs: what this kernel has for them; compiled, loaded, attached, asked and read."""

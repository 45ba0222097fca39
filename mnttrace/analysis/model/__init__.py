# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The model of shared subtrees: mount tables, and what each operation of the kernel does to them.

:mod:`~mnttrace.analysis.model.propagation` has the operations.
"""

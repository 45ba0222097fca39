# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables of all namespaces as they were at a moment of a recording."""

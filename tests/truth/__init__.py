# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The real kernel as the judge of each operation: what it did against what was recorded of it."""

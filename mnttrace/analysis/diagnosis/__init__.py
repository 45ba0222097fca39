# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is wrong with a mount, why, and which commands put it right."""

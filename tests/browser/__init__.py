# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Tests that need a browser, a JavaScript engine (vl-convert) or Jupyter."""

/* SPDX-FileCopyrightText: The mnttrace authors */
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#include <linux/types.h>
struct pt_regs {
	unsigned long regs[32];
};

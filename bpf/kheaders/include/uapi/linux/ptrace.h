#include <linux/types.h>
struct pt_regs {
	unsigned long regs[32];
};

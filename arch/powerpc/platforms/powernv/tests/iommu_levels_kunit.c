// SPDX-License-Identifier: GPL-2.0-or-later
/* See iommu_levels_kunit.h. */
#include "iommu_levels_kunit.h"
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/poison.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include "../pci-ioda-tce.c"

struct iommu_levels_probe iommu_levels_probe = {
	.fail_after = ATOMIC_LONG_INIT(-1),
};

/* Levels by address; no level is smaller than 4K. */
static DEFINE_XARRAY_FLAGS(levels, XA_FLAGS_LOCK_IRQ);

static bool probe_fails(unsigned long bytes)
{
	struct iommu_levels_probe *probe = &iommu_levels_probe;

	if (probe->fail_bytes && bytes >= probe->fail_bytes)
		return true;
	return atomic_long_read(&probe->fail_after) >= 0 &&
	       atomic_long_dec_if_positive(&probe->fail_after) < 0;
}

static void *probe_level_alloc(size_t size, gfp_t gfp, int nid)
{
	void *p = probe_fails(size) ? NULL : kmalloc_node(size, gfp, nid);
	unsigned long flags;

	if (p) {
		xa_lock_irqsave(&levels, flags);
		__xa_store(&levels, (unsigned long)p >> 12, p, GFP_ATOMIC);
		xa_unlock_irqrestore(&levels, flags);
		atomic_long_inc(&iommu_levels_probe.blocks);
		atomic_long_add(ksize(p), &iommu_levels_probe.bytes);
	}
	return p;
}

static void *probe_alloc(size_t size, gfp_t gfp)
{
	return probe_fails(size) ? NULL : kzalloc(size, gfp);
}

/* Frees a level, or something else. */
static void probe_free(void *p)
{
	unsigned long flags;
	void *level;

	xa_lock_irqsave(&levels, flags);
	level = xa_load(&levels, (unsigned long)p >> 12);
	if (p && level == p)
		__xa_erase(&levels, (unsigned long)p >> 12);
	xa_unlock_irqrestore(&levels, flags);
	if (p && level == p) {
		if (iommu_levels_probe.poison)
			memset(p, POISON_FREE, ksize(p));
		atomic_long_dec(&iommu_levels_probe.blocks);
		atomic_long_sub(ksize(p), &iommu_levels_probe.bytes);
	}
	kfree(p);
}

#undef kmalloc_node
#undef kzalloc
#define kmalloc_node	probe_level_alloc
#define kzalloc		probe_alloc
#define kfree		probe_free
#include "../../../kernel/iommu_levels.c"

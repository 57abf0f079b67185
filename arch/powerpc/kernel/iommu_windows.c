// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DMA windows in debugfs: powerpc/tce_windows has a line for each window of each group of PCI
 * devices, whether the host or a user owns it.
 *
 * A table is referenced while its line is made. Levels that are reclaimed meanwhile stay for an
 * RCU grace period, so a table is walked in several RCU read sides. Entries may change during
 * the walk: the count of live ones is no snapshot.
 */
#include <linux/bitmap.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>

#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/tce.h>
#include "../mm/book3s64/mm_iommu_core.h"

/* Entries read in one RCU read side */
#define WINDOW_BATCH	4096UL

static unsigned long span_live(const struct iommu_span *span, unsigned long n)
{
	unsigned long live = 0, i;

	for (i = 0; i < n; i++) {
		if (span->view)
			live += !!(READ_ONCE(span->view[i]) & IOMMU_VIEW_LIVE);
		else
			live += !!(iommu_tce_load(&span->tce[i]) &
				   (TCE_PCI_READ | TCE_PCI_WRITE));
	}
	return live;
}

static unsigned long table_live(struct iommu_table *tbl)
{
	unsigned long live = 0, idx, n;
	struct iommu_span span;

	if (iommu_table_is_host(tbl))
		return bitmap_weight(tbl->it_map, tbl->it_size);
	for (idx = 0; idx < tbl->it_size; idx += n) {
		rcu_read_lock();
		iommu_levels_walk(tbl, idx, &span);
		n = span.nr;
		if (span.view || span.tce) {
			n = min(n, WINDOW_BATCH);
			live += span_live(&span, n);
		}
		rcu_read_unlock();
		cond_resched();
	}
	return live;
}

static void owner_show(struct seq_file *m, struct iommu_table *tbl)
{
	if (iommu_table_is_host(tbl))
		seq_puts(m, "host     ");
	else if (tbl->it_mm)
		/* The table's charge has made the store. */
		seq_printf(m, "%-9d", mm_iommu_store(tbl->it_mm)->pid);
	else
		seq_puts(m, "iommufd  ");
}

static void window_show(struct seq_file *m, struct iommu_group *group, struct iommu_table *tbl)
{
	unsigned int shift = tbl->it_page_shift;

	seq_printf(m, "%5d ", iommu_group_id(group));
	owner_show(m, tbl);
	seq_printf(m, " 0x%016lx 0x%016lx 0x%09lx %6lu %10lu %10lu\n", tbl->it_offset << shift,
		   tbl->it_size << shift, BIT(shift), tbl->it_indirect_levels + 1,
		   READ_ONCE(tbl->it_allocated_size), table_live(tbl));
}

static int first_device(struct device *dev, void *data)
{
	*(struct device **)data = dev;
	return 1;
}

static void group_show(struct seq_file *m, struct iommu_group *group)
{
	struct iommu_table_group *table_group = iommu_group_get_iommudata(group);
	struct iommu_table *tbl;
	unsigned int num;

	if (!table_group)
		return;
	for (num = 0; num < IOMMU_TABLE_GROUP_MAX_TABLES; num++) {
		tbl = iommu_group_table_get(table_group, num);
		if (!tbl)
			continue;
		window_show(m, group, tbl);
		iommu_tce_table_put(tbl);
	}
}

static int tce_windows_show(struct seq_file *m, void *v)
{
	struct pci_dev *pdev = NULL;
	struct iommu_group *group;
	struct device *first;

	seq_puts(m, "group owner     start              size               page_size   levels      bytes       live\n");
	for_each_pci_dev(pdev) {
		group = iommu_group_get(&pdev->dev);
		if (!group)
			continue;
		/* Show a group once, at its first device. */
		first = NULL;
		iommu_group_for_each_dev(group, &first, first_device);
		if (first == &pdev->dev)
			group_show(m, group);
		iommu_group_put(group);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(tce_windows);

static int __init tce_windows_init(void)
{
	debugfs_create_file("tce_windows", 0400, arch_debugfs_dir, NULL, &tce_windows_fops);
	return 0;
}
device_initcall(tce_windows_init);

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The levels of tables once more, for the suites of what is built on them: instrumented,
 * and with allocations that are counted and can be made to fail. iommu_levels_kunit.c is
 * iommu_levels.c and pci-ioda-tce.c by other names; whoever includes this first has them.
 */
#ifndef IOMMU_LEVELS_KUNIT_H
#define IOMMU_LEVELS_KUNIT_H

#define iommu_levels_shape		kunit_levels_shape
#define iommu_levels_init		kunit_levels_init
#define iommu_levels_destroy		kunit_levels_destroy
#define iommu_levels_grow		kunit_levels_grow
#define iommu_levels_grow_host		kunit_levels_grow_host
#define iommu_levels_reclaim		kunit_levels_reclaim
#define iommu_levels_prune		kunit_levels_prune
#define pnv_ioda_parse_tce_sizes	kunit_pnv_ioda_parse_tce_sizes
#define pnv_pci_ioda2_tce_kill_pe	kunit_pnv_pci_ioda2_tce_kill_pe
#define pnv_pci_ioda2_tce_kill		kunit_pnv_pci_ioda2_tce_kill
#define pnv_pci_table_ops		kunit_pnv_pci_table_ops
#define pnv_pci_ioda2_table_init	kunit_pnv_pci_ioda2_table_init
#define pnv_pci_link_table_and_group	kunit_pnv_pci_link_table_and_group
#define pnv_pci_unlink_table_and_group	kunit_pnv_pci_unlink_table_and_group

#include <linux/atomic.h>
#include <asm/iommu_levels.h>

/**
 * struct iommu_levels_probe - allocations of all tables of the suites
 * @blocks: levels that are allocated now
 * @bytes: what they take
 * @fail_after: so many allocations succeed, then all fail; none if negative
 * @fail_bytes: allocations of so many bytes fail; 0: none
 * @poison: overwrite what is freed, so that a late reader is found out
 */
struct iommu_levels_probe {
	atomic_long_t blocks;
	atomic_long_t bytes;
	atomic_long_t fail_after;
	unsigned long fail_bytes;
	bool poison;
};

extern struct iommu_levels_probe iommu_levels_probe;

#endif /* IOMMU_LEVELS_KUNIT_H */

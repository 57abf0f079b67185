/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invalidation of TCEs cached by a PHB, shared by virtual and real mode.
 *
 * A PHB3 has a register: a store to it invalidates one TCE, or all TCEs of a PE. The
 * firmware does the same for other PHBs; on PHB4 and later it invalidates the whole PE
 * instead of pages (skiboot, erratum HW560152), so the count matters only where
 * the firmware loops.
 *
 * The caches of a PE hold some 1000 TCEs. Invalidating more than a few of them one by one is
 * slower than having the hardware read the others again, and a large range would be an
 * unbounded loop. So a small range is invalidated page by page, any other by PE.
 *
 * The caller's two mb() order the stores to TCEs before the invalidation, and accesses to the
 * memory that the TCEs led to after it (clear-before-invalidate, invalidate-before-drop).
 */
#ifndef POWERNV_PCI_IODA_TCE_H
#define POWERNV_PCI_IODA_TCE_H

#include <linux/bitops.h>
#include <asm/iommu.h>
#include "pci.h"

#define PNV_TCE_KILL_MAX_PAGES	32

#define PHB3_TCE_KILL		0x210
#define PHB3_TCE_KILL_PE	PPC_BIT(1)
#define PHB3_TCE_KILL_ONE	PPC_BIT(2)
#define PHB3_TCE_KILL_PE_NUM	0xff

/* @store writes a value to the PHB3's register. */
static __always_inline void
phb3_tce_kill(struct pnv_ioda_pe *pe, unsigned int shift, unsigned long index,
	      unsigned long pages, void (*store)(struct pnv_phb *phb, u64 val))
{
	u64 val = pe->pe_number & PHB3_TCE_KILL_PE_NUM;

	if (pages > PNV_TCE_KILL_MAX_PAGES) {
		store(pe->phb, val | PHB3_TCE_KILL_PE);
		return;
	}
	for (; pages; pages--, index++)
		store(pe->phb, val | PHB3_TCE_KILL_ONE | index << shift);
}

static __always_inline struct pnv_ioda_pe *
tce_link_pe(struct iommu_table_group_link *tgl)
{
	return container_of(tgl->table_group, struct pnv_ioda_pe, table_group);
}

void pnv_phb3_tce_kill_rm(struct iommu_table *tbl, unsigned long index,
			  unsigned long pages);

#endif /* POWERNV_PCI_IODA_TCE_H */

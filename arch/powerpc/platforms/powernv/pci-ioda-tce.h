/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invalidation of TCEs cached by a PHB: what virtual and real mode share.
 *
 * A PHB3 has a register for it: a store invalidates one TCE, or all of a PE. The
 * firmware does the same for other PHBs; on PHB4 and later it turns pages into a
 * whole PE (skiboot, erratum HW560152), so the count only matters where it loops.
 *
 * Either way the caches of a PE hold some 1000 TCEs. Invalidating more than a few
 * one by one is slower than having the hardware fetch the neighbours again, and
 * a large range would be an unbounded loop. So small ranges go page by page, and
 * all others as a PE.
 *
 * Stores to TCEs come before the invalidation, and what is done with the memory
 * that they led to comes after it: the caller's two mb().
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

/* @store puts a value into the PHB3's register. */
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

int pnv_phb3_tce_kill_rm(struct iommu_table *tbl, unsigned long index,
			 unsigned long pages);

#endif /* POWERNV_PCI_IODA_TCE_H */

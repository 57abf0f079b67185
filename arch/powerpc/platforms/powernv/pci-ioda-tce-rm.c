// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Invalidation of TCEs with the MMU off, on PHB3.
 *
 * Built in and not instrumented. Reaches only the linear map: tables, links and
 * groups are kmalloc'ed, PHBs and their PEs are allocated by memblock. A cache inhibited store
 * to its physical address writes the register.
 */

#include <linux/rculist.h>
#include <asm/barrier.h>
#include <asm/io.h>
#include "pci-ioda-tce.h"

static __always_inline void phb3_store_rm(struct pnv_phb *phb, u64 val)
{
	__raw_rm_writeq_be(val, (void __iomem *)(phb->regs_phys + PHB3_TCE_KILL));
}

/**
 * pnv_phb3_tce_kill_rm - invalidate a range of a table
 * @tbl: table of PHB3s only, see pnv_pci_table_ops()
 * @index: first entry, as on the bus
 * @pages: entries
 *
 * Context: hypervisor real mode, within a guest's exit.
 */
void pnv_phb3_tce_kill_rm(struct iommu_table *tbl, unsigned long index,
			  unsigned long pages)
{
	struct iommu_table_group_link *tgl;

	if (!pages)
		return;

	mb(); /* clear-before-invalidate */
	list_for_each_entry_lockless(tgl, &tbl->it_group_list, next)
		phb3_tce_kill(tce_link_pe(tgl), tbl->it_page_shift, index, pages,
			      phb3_store_rm);
	mb(); /* invalidate-before-drop */
}

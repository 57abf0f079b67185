// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCE tables of IODA2 and IODA3 PHBs.
 *
 * A table (asm/iommu_levels.h) is created, then set as a window of one or more groups, and
 * freed with its last reference. What the hardware supports, from skiboot and the PHB3/PHB4
 * models:
 *
 *   TCEs    4K, 64K, 16M and 256M on PHB3; 4K, 64K, 2M and 1G on PHB4, as the firmware
 *           reports: see pnv_ioda_parse_tce_sizes()
 *   levels  1 to 5 of the same size, a power of two of 4K at least
 *   window  bit 59 of a bus address selects it, so an index never has that bit
 *
 * A window is exactly as large as requested (it_size), though the table may have room for
 * more: entries beyond it_size are never set, so the hardware refuses them.
 *
 * Drivers use the host's own tables (without view words) in any context: set() first allocates
 * missing levels and changes nothing if that fails. Clearing and reading never allocate. Only
 * the protocol of asm/iommu_user.h changes entries of users' tables, never these functions.
 */

#include <linux/kernel.h>
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/of.h>
#include <linux/rculist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/opal.h>
#include <asm/tce.h>
#include "pci.h"
#include "pci-ioda-tce.h"

/* Index bits plus page bits stay below this, as they always have on IODA2. */
#define PNV_TCE_ADDR_BITS	54

/*
 * Guards every table's it_group_list. A table's groups may have different owners, which hold no
 * lock in common: a container sets it in one while another, of which the firmware refused to
 * close the window, goes back to the host. Readers use RCU, or real mode.
 */
static DEFINE_SPINLOCK(group_list_lock);

/**
 * pnv_ioda_parse_tce_sizes - the IOMMU page sizes of a PHB
 * @phb: the PHB
 *
 * Return: bitmap of page sizes; those of a PHB3 or 4K and 64K if the firmware reports none.
 */
unsigned long pnv_ioda_parse_tce_sizes(struct pnv_phb *phb)
{
	struct device_node *dn = phb->hose->dn;
	unsigned long sizes = 0;
	u32 shift;
	int i;

	for (i = 0; !of_property_read_u32_index(dn, "ibm,supported-tce-sizes", i, &shift); i++)
		if (shift < BITS_PER_LONG)
			sizes |= BIT(shift);
	if (sizes)
		return sizes;

	sizes = SZ_4K | SZ_64K;
	if (cpu_has_feature(CPU_FTR_ARCH_207S) && !cpu_has_feature(CPU_FTR_ARCH_300))
		sizes |= SZ_16M | SZ_256M;
	return sizes;
}

static void phb3_store(struct pnv_phb *phb, u64 val)
{
	__raw_writeq_be(val, phb->regs + PHB3_TCE_KILL);
}

static bool phb_is_phb3(struct pnv_phb *phb)
{
	return phb->model == PNV_PHB_MODEL_PHB3 && phb->regs;
}

/**
 * pnv_pci_ioda2_tce_kill_pe - invalidate all TCEs of a PE
 * @pe: the PE
 *
 * Context: any with the MMU on.
 */
void pnv_pci_ioda2_tce_kill_pe(struct pnv_ioda_pe *pe)
{
	struct pnv_phb *phb = pe->phb;

	mb(); /* clear-before-invalidate */
	if (phb_is_phb3(phb))
		phb3_tce_kill(pe, 0, 0, ULONG_MAX, phb3_store);
	else
		opal_pci_tce_kill(phb->opal_id, OPAL_PCI_TCE_KILL_PE, pe->pe_number,
				  0, 0, 0);
	mb(); /* invalidate-before-drop */
}

/**
 * pnv_pci_ioda2_tce_kill - invalidate a range of a table
 * @tbl: the table
 * @index: first entry, as on the bus
 * @pages: entries
 *
 * One store or firmware call for each group of the table; a few stores for a small range on
 * PHB3.
 *
 * Context: any with the MMU on.
 */
void pnv_pci_ioda2_tce_kill(struct iommu_table *tbl, unsigned long index,
			    unsigned long pages)
{
	const unsigned int shift = tbl->it_page_shift;
	struct iommu_table_group_link *tgl;

	if (!pages)
		return;

	mb(); /* clear-before-invalidate */
	rcu_read_lock();
	list_for_each_entry_rcu(tgl, &tbl->it_group_list, next) {
		struct pnv_ioda_pe *pe = tce_link_pe(tgl);
		struct pnv_phb *phb = pe->phb;

		if (phb_is_phb3(phb))
			phb3_tce_kill(pe, shift, index, pages, phb3_store);
		else if (pages > PNV_TCE_KILL_MAX_PAGES)
			opal_pci_tce_kill(phb->opal_id, OPAL_PCI_TCE_KILL_PE,
					  pe->pe_number, 0, 0, 0);
		else
			opal_pci_tce_kill(phb->opal_id, OPAL_PCI_TCE_KILL_PAGES,
					  pe->pe_number, 1u << shift,
					  index << shift, pages);
	}
	rcu_read_unlock();
	mb(); /* invalidate-before-drop */
}

/* A device that may write may read too. -ENOMEM: no entry has changed. */
static int pnv_tce_set(struct iommu_table *tbl, long index, long npages,
		       unsigned long uaddr, enum dma_data_direction direction,
		       unsigned long attrs)
{
	const unsigned long first = index - tbl->it_offset, end = first + npages;
	const unsigned long size = BIT(tbl->it_page_shift);
	unsigned long i, n, tce = __pa(uaddr) & ~(size - 1);
	struct iommu_span span;

	for (i = first; i < end; i += span.nr) {
		iommu_levels_walk(tbl, i, &span);
		if (!span.tce) {
			if (iommu_levels_grow_host(tbl, i, GFP_ATOMIC))
				return -ENOMEM;
			span.nr = 0;
		}
	}

	tce |= iommu_direction_to_tce_perm(direction);
	if (tce & TCE_PCI_WRITE)
		tce |= TCE_PCI_READ;
	for (i = first; i < end; i += n) {
		iommu_levels_walk(tbl, i, &span);
		n = min(span.nr, end - i);
		for (__be64 *p = span.tce; p < span.tce + n; p++, tce += size)
			iommu_tce_store(p, tce);
	}
	pnv_pci_ioda2_tce_kill(tbl, index, npages);
	return 0;
}

/* Holes are skipped whole. */
static void pnv_tce_clear(struct iommu_table *tbl, long index, long npages)
{
	const unsigned long first = index - tbl->it_offset, end = first + npages;
	struct iommu_span span;
	unsigned long i, n;

	for (i = first; i < end; i += n) {
		iommu_levels_walk(tbl, i, &span);
		n = min(span.nr, end - i);
		if (!span.tce)
			continue;
		for (__be64 *p = span.tce; p < span.tce + n; p++)
			WRITE_ONCE(*p, 0);
	}
	pnv_pci_ioda2_tce_kill(tbl, index, npages);
}

/* 0 where there is no level */
static unsigned long pnv_tce_get(struct iommu_table *tbl, long index)
{
	struct iommu_span span;

	iommu_levels_walk(tbl, index - tbl->it_offset, &span);
	return span.tce ? iommu_tce_load(span.tce) : 0;
}

static struct iommu_table_ops pnv_ioda2_table_ops = {
	.set = pnv_tce_set,
	.clear = pnv_tce_clear,
	.get = pnv_tce_get,
#ifdef CONFIG_IOMMU_API
	.tce_kill = pnv_pci_ioda2_tce_kill,
#endif
	.free = iommu_levels_destroy,
};

static struct iommu_table_ops pnv_phb3_table_ops = {
	.set = pnv_tce_set,
	.clear = pnv_tce_clear,
	.get = pnv_tce_get,
#ifdef CONFIG_IOMMU_API
	.tce_kill = pnv_pci_ioda2_tce_kill,
	.tce_kill_rm = pnv_phb3_tce_kill_rm,
#endif
	.free = iommu_levels_destroy,
};

/**
 * pnv_pci_table_ops - the operations of a PHB's tables
 * @phb: the PHB
 *
 * A table is set as a window only of PHBs with the same operations.
 */
struct iommu_table_ops *pnv_pci_table_ops(struct pnv_phb *phb)
{
	return phb_is_phb3(phb) ? &pnv_phb3_table_ops : &pnv_ioda2_table_ops;
}

/*
 * Return the number of levels, and their size in @shift. @page_shift, @window_size and @levels
 * come from user space, unchecked.
 */
static int pnv_table_shape(u32 page_shift, u64 window_size, u32 levels, bool view,
			   unsigned int *shift)
{
	if (!levels || levels > POWERNV_IOMMU_MAX_LEVELS ||
	    page_shift < IOMMU_PAGE_SHIFT_4K || page_shift > PNV_TCE_ADDR_BITS ||
	    !is_power_of_2(window_size) || window_size < BIT(page_shift) ||
	    window_size > BIT(PNV_TCE_ADDR_BITS))
		return -EINVAL;

	return iommu_levels_shape(ilog2(window_size) - page_shift, levels,
				  PNV_TCE_ADDR_BITS - page_shift, view, shift);
}

/**
 * pnv_pci_ioda2_table_init - allocate a table's top level and set its fields
 * @tbl: zeroed table
 * @nid: node
 * @bus_offset: bus address of its window
 * @page_shift: log2 of the IOMMU page
 * @window_size: bytes
 * @levels: requested levels; a small window gets fewer
 * @mm: owner of a user's table, charged for it; NULL: the host's own or a domain's
 *
 * Context: may sleep.
 * Return: 0; -EINVAL: no such table is possible; -ENOMEM. On failure nothing stays.
 */
int pnv_pci_ioda2_table_init(struct iommu_table *tbl, int nid, __u64 bus_offset,
			     __u32 page_shift, __u64 window_size, __u32 levels,
			     struct mm_struct *mm)
{
	unsigned int shift;
	int n, ret;

	n = pnv_table_shape(page_shift, window_size, levels, mm, &shift);
	if (n < 0)
		return n;

	tbl->it_blocksize = 16;
	tbl->it_type = TCE_PCI;
	tbl->it_page_shift = page_shift;
	tbl->it_offset = bus_offset >> page_shift;
	tbl->it_size = window_size >> page_shift;
	ret = iommu_levels_init(tbl, nid, n, shift, true, mm);
	if (ret)
		return ret;

	tbl->it_base = (unsigned long)tbl->it_root;
	pr_debug("TCE table: window %llx at %llx, %d levels of %lx words\n",
		 window_size, bus_offset, n, tbl->it_level_size);
	return 0;
}

/**
 * pnv_pci_link_table_and_group - add a table to a group
 * @node: node for the link
 * @num: number of the window
 * @tbl: the table; the group takes a reference
 * @table_group: the group
 *
 * Context: may sleep. The group's owner serialises this for the group, not for the table.
 * Return: 0; -EBUSY: the group has a table there; -ENOMEM.
 */
long pnv_pci_link_table_and_group(int node, int num, struct iommu_table *tbl,
				  struct iommu_table_group *table_group)
{
	struct iommu_table_group_link *tgl;

	if (table_group->tables[num])
		return -EBUSY;

	tgl = kzalloc_node(sizeof(*tgl), GFP_KERNEL, node);
	if (!tgl)
		return -ENOMEM;

	tgl->table_group = table_group;
	spin_lock(&group_list_lock);
	list_add_rcu(&tgl->next, &tbl->it_group_list);
	spin_unlock(&group_list_lock);
	WRITE_ONCE(table_group->tables[num], iommu_tce_table_get(tbl));
	return 0;
}

/**
 * pnv_pci_unlink_table_and_group - undo pnv_pci_link_table_and_group()
 * @num: which window
 * @table_group: the group
 *
 * Hypercalls may still invalidate through the link until a grace period has passed. A PE that is
 * freed meanwhile keeps its PHB.
 *
 * Context: may sleep. The group's owner serialises this for the group, not for the table.
 */
void pnv_pci_unlink_table_and_group(int num, struct iommu_table_group *table_group)
{
	struct iommu_table *tbl = table_group->tables[num];
	struct iommu_table_group_link *tgl;

	WRITE_ONCE(table_group->tables[num], NULL);
	spin_lock(&group_list_lock);
	list_for_each_entry(tgl, &tbl->it_group_list, next) {
		if (tgl->table_group == table_group) {
			list_del_rcu(&tgl->next);
			kfree_rcu(tgl, rcu);
			break;
		}
	}
	spin_unlock(&group_list_lock);
	iommu_tce_table_put(tbl);
}

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * IOMMU API: a paging domain is a TCE table.
 *
 * iommufd, and through it vfio cdev and type1 clients, drive devices by paging
 * domains. A domain here is one multilevel table (asm/iommu_levels.h) without a view,
 * shown as window 0 of every group that it is attached to. The platform makes the
 * table and thereby fixes aperture and page size, which never change: user space
 * reads the IOVA ranges once and relies on them.
 *
 * Ownership. Window 0 of a group has one owner at a time. The IOMMU core chooses it
 * and tells us by attaching a domain:
 *
 *   domain     owner                          window 0          bypass
 *   platform   the host's DMA API             host's own table  on
 *   blocked    nobody, or a SPAPR container   none, or user's   off
 *   paging     iommufd                        the domain's      off
 *
 * it_domain of the table tells which it is. Attaching is per device, ownership per
 * group, so the first device of a group does the work and the others find it done:
 *
 *   to paging    leave another domain, or take_ownership(); set_window()
 *   to blocked   leave; then take_ownership(), as before
 *   to platform  leave; then release_ownership(), as before: default window and
 *                bypass are back
 *
 * Leaving closes the window and invalidates all of the PE before it returns: from then
 * on the devices of the group reach nothing of the domain. If the firmware refuses to
 * close the window, the group keeps it, and the table with it: what is
 * unmapped from the domain later is still invalidated in the group. Attaching fails
 * then, and tries again to leave when it is called the next time.
 *
 * Entries. The IOMMU API allows no two callers to change one IOVA at the same time, so
 * entries are stored without a lock. Levels come with cmpxchg() and go only
 * when they lie wholly in an unmapped range (iommu_levels_prune()). The caller owns what
 * is mapped: it unpins after unmap and iotlb_sync, when the hardware has forgotten.
 *
 * Invalidation is per range, in iotlb_sync(), unless unmap has freed levels and so
 * had to invalidate the range itself. A map invalidates as well: nothing says that no
 * PHB caches invalid entries, and the DMA API has always done it.
 *
 * There are no dirty bits in a TCE, so there is no dirty tracking.
 *
 * Lock order: group->mutex (of the IOMMU core), then attach_lock.
 */

#include <linux/device.h>
#include <linux/iommu.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include <asm/iommu.h>
#include <asm/iommu_domain.h>
#include <asm/iommu_levels.h>
#include <asm/pci-bridge.h>
#include <asm/tce.h>

/* 32-bit MSIs of every PHB: writes here become interrupts. */
#define MSI32_START	0xffff0000UL
#define MSI32_SIZE	0x10000UL

/**
 * struct tce_domain - a paging domain
 * @domain: the core's part
 * @tbl: the table; a reference until free, immutable
 */
struct tce_domain {
	struct iommu_domain domain;
	struct iommu_table *tbl;
};

/*
 * Serialises attaching and leaving: the groups of a table are on one list, and the core
 * locks each group on its own. Rare and slow (firmware), so one for all.
 */
static DEFINE_MUTEX(attach_lock);

static struct iommu_table *domain_table(struct iommu_domain *domain)
{
	return container_of(domain, struct tce_domain, domain)->tbl;
}

/**
 * spapr_tce_domain_alloc - make a paging domain
 * @table_group: group of the device that the domain is for
 *
 * Context: may sleep.
 * Return: the domain; -EOPNOTSUPP: the platform has none; -ENOMEM.
 */
struct iommu_domain *spapr_tce_domain_alloc(struct iommu_table_group *table_group)
{
	struct iommu_domain_geometry *geometry;
	struct tce_domain *td;
	struct iommu_table *tbl;
	int ret;

	if (!table_group || !table_group->ops ||
	    !table_group->ops->create_domain_table)
		return ERR_PTR(-EOPNOTSUPP);

	td = kzalloc_obj(*td, GFP_KERNEL_ACCOUNT);
	if (!td)
		return ERR_PTR(-ENOMEM);
	ret = table_group->ops->create_domain_table(table_group, &tbl);
	if (ret) {
		kfree(td);
		return ERR_PTR(ret);
	}

	td->tbl = tbl;
	td->domain.pgsize_bitmap = IOMMU_PAGE_SIZE(tbl);
	geometry = &td->domain.geometry;
	geometry->aperture_start = tbl->it_offset << tbl->it_page_shift;
	geometry->aperture_end = geometry->aperture_start +
				 (tbl->it_size << tbl->it_page_shift) - 1;
	geometry->force_aperture = true;
	return &td->domain;
}

/**
 * spapr_tce_domain_free - free a domain that no group shows any more
 * @domain: the domain
 *
 * A group whose window the firmware did not close keeps the table.
 *
 * Context: may sleep.
 */
void spapr_tce_domain_free(struct iommu_domain *domain)
{
	struct tce_domain *td = container_of(domain, struct tce_domain, domain);

	iommu_tce_table_put(td->tbl);
	kfree(td);
}

/* Window 0 is no domain's, or the firmware refuses to close it. */
static int domain_leave(struct iommu_table_group *table_group)
{
	struct iommu_table *tbl = table_group->tables[0];

	lockdep_assert_held(&attach_lock);

	if (!tbl || !tbl->it_domain)
		return 0;
	return table_group->ops->unset_window(table_group, 0);
}

/**
 * spapr_tce_domain_leave - take a group out of the domain it is in, if any
 * @table_group: the group
 *
 * On return 0 the devices of the group reach nothing of the domain.
 *
 * Context: may sleep; the core's lock of the group is held.
 * Return: 0, or the platform's error, and the group is still in the domain.
 */
int spapr_tce_domain_leave(struct iommu_table_group *table_group)
{
	int ret;

	mutex_lock(&attach_lock);
	ret = domain_leave(table_group);
	mutex_unlock(&attach_lock);
	return ret;
}

/* Could a group of another PHB have made this table? */
static bool domain_fits(struct iommu_table *tbl, struct iommu_table_group *table_group)
{
	return table_group->ops && table_group->ops->create_domain_table &&
	       table_group->pgsizes & IOMMU_PAGE_SIZE(tbl) &&
	       table_group->max_levels > tbl->it_indirect_levels &&
	       table_group->tce32_start == tbl->it_offset << tbl->it_page_shift;
}

/**
 * spapr_tce_domain_attach - show a domain's table to a device's group
 * @domain: the domain
 * @table_group: the group
 * @dev: device of the group; the group's other devices follow
 *
 * The domain may be attached to any number of groups, of several PHBs.
 *
 * Context: may sleep; the core's lock of the group is held.
 * Return: 0. -EINVAL: the group can't use this table, a domain made for it would
 * do; nothing has changed, or (if the platform says so) the group shows no
 * table. -EBUSY: a user's table is shown. Other errors are the platform's. The core
 * attaches the domain before again after any error.
 */
int spapr_tce_domain_attach(struct iommu_domain *domain,
			    struct iommu_table_group *table_group,
			    struct device *dev)
{
	struct iommu_table *tbl = domain_table(domain), *old;
	int ret = 0;

	mutex_lock(&attach_lock);
	old = table_group->tables[0];
	if (old == tbl)
		goto unlock;	/* another device of the group was first */

	if (!domain_fits(tbl, table_group)) {
		ret = -EINVAL;
	} else if (old && iommu_table_has_view(old)) {
		ret = -EBUSY;
	} else if (old && old->it_domain) {
		ret = domain_leave(table_group);
	} else {
		/* with or without a window, the host may still have the bypass */
		ret = table_group->ops->take_ownership(table_group, dev);
	}
	if (!ret)
		ret = table_group->ops->set_window(table_group, 0, tbl);
unlock:
	mutex_unlock(&attach_lock);
	return ret;
}

/* @n TCEs in one leaf. */
static void tces_set(__be64 *p, unsigned long n, u64 tce, unsigned long step)
{
	for (; n; n--, p++, tce += step)
		iommu_tce_store(p, tce);
}

/* How many of @n were set, up to the first that was not. */
static unsigned long tces_clear(__be64 *tces, unsigned long n)
{
	__be64 *p = tces, *end = tces + n;

	for (; p < end && READ_ONCE(*p); p++)
		WRITE_ONCE(*p, 0);
	return p - tces;
}

/**
 * spapr_tce_domain_map - iommu_domain_ops::map_pages
 * @domain: the domain
 * @iova: bus address
 * @pa: memory
 * @pgsize: bytes of an IOMMU page, the domain's only one
 * @count: pages
 * @prot: IOMMU_READ and IOMMU_WRITE; a device that may write may read too
 * @gfp: for missing levels
 * @mapped: bytes that were mapped are added, also on failure
 *
 * Context: as @gfp allows.
 * Return: 0; -EINVAL: a TCE can't express @prot; -ERANGE: beyond the aperture; -ENOMEM.
 */
int spapr_tce_domain_map(struct iommu_domain *domain, unsigned long iova,
			 phys_addr_t pa, size_t pgsize, size_t count, int prot,
			 gfp_t gfp, size_t *mapped)
{
	struct iommu_table *tbl = domain_table(domain);
	unsigned long idx = (iova >> tbl->it_page_shift) - tbl->it_offset;
	unsigned long end = idx + count, n;
	struct iommu_span span;
	u64 perm;
	int ret;

	if (WARN_ON_ONCE(end > tbl->it_size || end < idx))
		return -ERANGE;
	if (prot & IOMMU_WRITE)
		perm = TCE_PCI_WRITE | TCE_PCI_READ;
	else if (prot & IOMMU_READ)
		perm = TCE_PCI_READ;
	else
		return -EINVAL;

	for (; idx < end; idx += n) {
		n = 0;
		iommu_levels_walk(tbl, idx, &span);
		if (!span.tce) {
			ret = iommu_levels_grow_host(tbl, idx, gfp);
			if (ret)
				return ret;
			continue;
		}
		n = min(span.nr, end - idx);
		tces_set(span.tce, n, pa | perm, pgsize);
		pa += n * pgsize;
		*mapped += n * pgsize;
	}
	return 0;
}

/**
 * spapr_tce_domain_unmap - iommu_domain_ops::unmap_pages
 * @domain: the domain
 * @iova: bus address
 * @pgsize: bytes of an IOMMU page, the domain's only one
 * @count: pages
 * @gather: the range is added, for spapr_tce_domain_sync()
 *
 * Levels that lie wholly in the range are freed.
 *
 * Context: any.
 * Return: bytes unmapped, up to the first page that was not mapped.
 */
size_t spapr_tce_domain_unmap(struct iommu_domain *domain, unsigned long iova,
			      size_t pgsize, size_t count,
			      struct iommu_iotlb_gather *gather)
{
	struct iommu_table *tbl = domain_table(domain);
	const unsigned long first = (iova >> tbl->it_page_shift) - tbl->it_offset;
	const unsigned long end = first + count;
	unsigned long idx = first, n, cleared;
	struct iommu_span span;

	if (WARN_ON_ONCE(end > tbl->it_size || end <= first))
		return 0;
	do {
		iommu_levels_walk(tbl, idx, &span);
		if (!span.tce)
			break;
		n = min(span.nr, end - idx);
		cleared = tces_clear(span.tce, n);
		idx += cleared;
	} while (cleared == n && idx < end);

	n = idx - first;
	if (n && !iommu_levels_prune(tbl, first, n))
		iommu_iotlb_gather_add_range(gather, iova, n * pgsize);
	return n * pgsize;
}

/**
 * spapr_tce_domain_iova_to_phys - iommu_domain_ops::iova_to_phys
 * @domain: the domain
 * @iova: bus address
 *
 * Context: any.
 * Return: physical address, 0 if nothing is mapped there.
 */
phys_addr_t spapr_tce_domain_iova_to_phys(struct iommu_domain *domain,
					  dma_addr_t iova)
{
	struct iommu_table *tbl = domain_table(domain);
	const unsigned long mask = IOMMU_PAGE_SIZE(tbl) - 1;
	struct iommu_span span;
	u64 tce = 0;

	if (iova < domain->geometry.aperture_start ||
	    iova > domain->geometry.aperture_end)
		return 0;

	rcu_read_lock();
	iommu_levels_walk(tbl, (iova >> tbl->it_page_shift) - tbl->it_offset, &span);
	if (span.tce)
		tce = iommu_tce_load(span.tce);
	rcu_read_unlock();
	return tce ? (tce & ~mask) | (iova & mask) : 0;
}

static void domain_kill(struct iommu_table *tbl, unsigned long iova, size_t size)
{
	iommu_tce_kill(tbl, iova >> tbl->it_page_shift, size >> tbl->it_page_shift);
}

/**
 * spapr_tce_domain_sync_map - iommu_domain_ops::iotlb_sync_map
 * @domain: the domain
 * @iova: bus address
 * @size: bytes that have been mapped
 *
 * Context: any.
 * Return: 0.
 */
int spapr_tce_domain_sync_map(struct iommu_domain *domain, unsigned long iova,
			      size_t size)
{
	domain_kill(domain_table(domain), iova, size);
	return 0;
}

/**
 * spapr_tce_domain_sync - iommu_domain_ops::iotlb_sync
 * @domain: the domain
 * @gather: what has been unmapped and not been invalidated yet
 *
 * Context: any.
 */
void spapr_tce_domain_sync(struct iommu_domain *domain,
			   struct iommu_iotlb_gather *gather)
{
	if (gather->end > gather->start)	/* nothing: start is ULONG_MAX */
		domain_kill(domain_table(domain), gather->start,
			    gather->end - gather->start + 1);
}

/**
 * spapr_tce_domain_flush_all - iommu_domain_ops::flush_iotlb_all
 * @domain: the domain
 *
 * Context: any.
 */
void spapr_tce_domain_flush_all(struct iommu_domain *domain)
{
	struct iommu_table *tbl = domain_table(domain);

	iommu_tce_kill(tbl, tbl->it_offset, tbl->it_size);
}

/* Without the region user space would map what no DMA reaches: never fail. */
static void resv_add(struct list_head *head, u64 start, u64 size,
		     enum iommu_resv_type type)
{
	struct iommu_resv_region *region;

	region = iommu_alloc_resv_region(start, size, 0, type,
					 GFP_KERNEL | __GFP_NOFAIL);
	if (region)
		list_add_tail(&region->list, head);
}

/**
 * spapr_tce_get_resv_regions - bus addresses that no TCE translates
 * @dev: a device of the group
 * @table_group: the group
 * @head: list to add to
 *
 * These are the PHB's MMIO windows, as the bridges keep requests to their own windows
 * below them, and 32-bit MSIs. 64-bit MSIs (bit 60) are outside of the aperture.
 *
 * Context: may sleep.
 */
void spapr_tce_get_resv_regions(struct device *dev,
				struct iommu_table_group *table_group,
				struct list_head *head)
{
	struct pci_controller *hose;
	struct resource *r;
	int i;

	if (!table_group || !table_group->ops ||
	    !table_group->ops->create_domain_table || !dev_is_pci(dev))
		return;

	hose = pci_bus_to_host(to_pci_dev(dev)->bus);
	for (i = 0; i < ARRAY_SIZE(hose->mem_resources); i++) {
		r = &hose->mem_resources[i];
		if (r->flags & IORESOURCE_MEM && r->end > r->start)
			resv_add(head, r->start - hose->mem_offset[i],
				 resource_size(r), IOMMU_RESV_RESERVED);
	}
	resv_add(head, MSI32_START, MSI32_SIZE, IOMMU_RESV_MSI);
}

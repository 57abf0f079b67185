// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * IOMMU API: a paging domain is a TCE table.
 *
 * iommufd uses paging domains, and through it vfio cdev and type1 clients. A domain here
 * is one multilevel table (asm/iommu_levels.h) without view words, set as window 0 of every
 * group that it is attached to. The platform makes the table and thereby fixes aperture and
 * page size. They never change: user space reads the IOVA ranges once and relies on them.
 *
 * Ownership. Window 0 of a group has one owner at a time. The IOMMU core decides which,
 * and attaches a domain:
 *
 *   domain     owner                          window 0          bypass
 *   platform   the host's DMA API             host's own table  on
 *   blocked    nobody, or a SPAPR container   none, or user's   off
 *   paging     iommufd                        the domain's      off
 *
 * it_domain marks a domain's table. Attaching is per device, ownership per group, so
 * attaching the first device of a group takes these steps and the others find them done:
 *
 *   to paging    leave another domain, or take_ownership(); set_window()
 *   to blocked   leave; then take_ownership(), as before
 *   to platform  leave; then release_ownership(), as before: default window and
 *                bypass are back
 *
 * Leaving closes the window and invalidates all of the PE before it returns: then the
 * devices of the group reach no memory of the domain. If the firmware refuses to close the
 * window, the group keeps window and table: later unmaps of the domain still invalidate
 * the group's caches. Attaching fails then; the next attempt tries again to leave. If the
 * firmware refuses the new window, the group gets back its previous one.
 *
 * Entries. The IOMMU API allows no concurrent changes of one IOVA, so entries are stored
 * without a lock. Levels are linked by cmpxchg() and freed only if they lie wholly in an
 * unmapped range (iommu_levels_prune()). The caller owns the mapped memory: it unpins after
 * unmap and iotlb_sync, when the TCE caches have been invalidated.
 *
 * iotlb_sync() invalidates a range, unless unmap has freed levels and therefore
 * invalidated the range itself. A map invalidates as well: PHBs may cache invalid
 * entries, and the DMA API has always done it.
 *
 * A TCE has no dirty bit, so there is no dirty tracking.
 *
 * Lock order: group->mutex (of the IOMMU core), then attach_lock.
 */

#include <linux/device.h>
#include <linux/iommu.h>
#include <linux/lockdep.h>
#include <linux/math.h>
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

/*
 * The shape of every domain's table: what TVE 0 reaches, four equal levels, kernel pages, as
 * iommufd supports no larger ones and a TVE has one page size. Constants, as each map and
 * unmap of a page walks all levels.
 */
#define DOMAIN_SHIFT	50
#define DOMAIN_LEVELS	4
/* log2 of the words of a level, at least IOMMU_LEVEL_MIN_SHIFT */
#define LEVEL_SHIFT	DIV_ROUND_UP(DOMAIN_SHIFT - PAGE_SHIFT, DOMAIN_LEVELS)

#define DOMAIN_PAGES	BIT(DOMAIN_SHIFT - PAGE_SHIFT)
#define DOMAIN_LEAF	BIT(LEVEL_SHIFT)

/**
 * struct tce_domain - a paging domain
 * @domain: the core's part
 * @tbl: the table; a reference until free
 * @root: its top level
 * @link_to_level: makes a pointer of a link when added; a load is cheaper than the constant
 *
 * All immutable.
 */
struct tce_domain {
	struct iommu_domain domain;
	struct iommu_table *tbl;
	__be64 *root;
	unsigned long link_to_level;
};

/*
 * Serialises attaching and leaving: the groups of a table are on one list, and the core
 * locks each group on its own. Rare and slow (firmware), so one for all.
 */
static DEFINE_MUTEX(attach_lock);

static struct tce_domain *to_tce_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct tce_domain, domain);
}

static struct iommu_table *domain_table(struct iommu_domain *domain)
{
	return to_tce_domain(domain)->tbl;
}

/* Is the table what domain_walk() expects? */
static bool domain_shape(struct iommu_table *tbl)
{
	return tbl->it_domain && !tbl->it_offset && tbl->it_page_shift == PAGE_SHIFT &&
	       tbl->it_size == DOMAIN_PAGES && tbl->it_level_size == DOMAIN_LEAF &&
	       tbl->it_indirect_levels == DOMAIN_LEVELS - 1;
}

/* A group whose window the firmware did not close keeps the table. */
static void domain_free(struct iommu_domain *domain)
{
	struct tce_domain *td = to_tce_domain(domain);

	iommu_tce_table_put(td->tbl);
	kfree(td);
}

/* The group that a device is in. It lives as long as the device. */
static struct iommu_table_group *dev_table_group(struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);
	struct iommu_table_group *table_group;

	if (!group)
		return NULL;
	table_group = iommu_group_get_iommudata(group);
	iommu_group_put(group);
	return table_group;
}

/* A domain is for any number of groups. Where each has tables of its own, there are none. */
static bool group_has_domains(struct iommu_table_group *table_group)
{
	return table_group && table_group->ops && table_group->ops->shares_tables;
}

/*
 * The domain's table that a group shows, or NULL. It stays under attach_lock. A container
 * changes its own tables without that lock, and frees them: RCU.
 */
static struct iommu_table *group_domain_table(struct iommu_table_group *table_group)
{
	struct iommu_table *tbl;

	lockdep_assert_held(&attach_lock);

	guard(rcu)();
	tbl = READ_ONCE(table_group->tables[0]);
	return tbl && tbl->it_domain ? tbl : NULL;
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
	guard(mutex)(&attach_lock);
	if (!group_domain_table(table_group))
		return 0;
	return table_group->ops->unset_window(table_group, 0);
}

/* Could a group of another PHB have made this table? */
static bool domain_fits(struct iommu_table *tbl, struct iommu_table_group *table_group)
{
	return group_has_domains(table_group) &&
	       table_group->pgsizes & IOMMU_PAGE_SIZE(tbl) &&
	       table_group->max_levels > tbl->it_indirect_levels &&
	       table_group->tce32_start == tbl->it_offset << tbl->it_page_shift;
}

/*
 * Show @tbl in place of the host's table, of another domain's, or of none. On failure, what was
 * there is back: not every core attaches the old domain again.
 */
static int group_show(struct iommu_table_group *table_group, struct iommu_table *tbl,
		      struct device *dev)
{
	struct iommu_table *old = group_domain_table(table_group);
	bool host = iommu_group_host_table(table_group);
	int ret;

	if (old) {
		iommu_tce_table_get(old);
		ret = table_group->ops->unset_window(table_group, 0);
	} else {
		/* without a host's table, too: the host may still have the bypass */
		ret = table_group->ops->take_ownership(table_group, dev);
	}
	if (!ret) {
		ret = table_group->ops->set_window(table_group, 0, tbl);
		if (ret && old && table_group->ops->set_window(table_group, 0, old))
			dev_warn(dev, "no DMA: firmware refuses the table it had before\n");
		if (ret && host)
			table_group->ops->release_ownership(table_group, dev);
	}
	if (old)
		iommu_tce_table_put(old);
	return ret;
}

/* The group then shows @tbl, or on failure what it had before. */
static int group_attach(struct iommu_table_group *table_group, struct iommu_table *tbl,
			struct device *dev)
{
	struct iommu_table *old;

	guard(mutex)(&attach_lock);
	old = group_domain_table(table_group);
	if (old == tbl)
		return 0;	/* another device of the group was first */
	if (!domain_fits(tbl, table_group))
		return -EINVAL;
	/* a container's, even in a window that the firmware did not close */
	if (!old && iommu_group_has_user_table(table_group))
		return -EBUSY;
	return group_show(table_group, tbl, dev);
}

/**
 * spapr_tce_domain_attach - show a domain's table to a device's group
 * @domain: the domain
 * @dev: the device; its group's other devices follow
 *
 * The domain may be attached to any number of groups, of several PHBs.
 *
 * Context: may sleep; the core's lock of the group is held.
 * Return: 0. -EINVAL: the group can't use this table, a domain made for it would do.
 * -EBUSY: a user's table is shown. Other errors are the platform's. On failure the group
 * has what it had before; if the firmware refuses that as well, no DMA.
 */
int spapr_tce_domain_attach(struct iommu_domain *domain, struct device *dev)
{
	struct iommu_table_group *table_group = dev_table_group(dev);
	int ret;

	if (!table_group)
		return -ENODEV;
	ret = group_attach(table_group, domain_table(domain), dev);
	/* The host's table is gone, for every device of the group. */
	if (!ret)
		set_iommu_table_base(dev, NULL);
	return ret;
}

/*
 * Find the TCE of @idx. False: a hole, or beyond the aperture. This is iommu_levels_walk() with
 * the shape known: four levels' walk is most of what mapping or unmapping one page costs.
 *
 * A link is the physical address of a level plus IOMMU_LINK_VALID, so adding one number makes
 * a pointer of it. The compiler is kept from shifting @idx anew for each level.
 */
static __always_inline bool domain_walk(struct tce_domain *td, unsigned long idx, __be64 **tce)
{
	const unsigned int shift = LEVEL_SHIFT;
	const unsigned long mask = (DOMAIN_LEAF - 1) * sizeof(u64);
	/* byte offsets into the levels above the leaf, the lowest level's lowest */
	unsigned long at = idx >> (shift - ilog2(sizeof(u64)));
	unsigned long link, base = td->link_to_level;

	BUILD_BUG_ON(DOMAIN_LEVELS != 4);
	OPTIMIZER_HIDE_VAR(at);

	if (at >> (DOMAIN_SHIFT - PAGE_SHIFT - shift + ilog2(sizeof(u64))))
		return false;
	link = iommu_tce_load((void *)td->root + (at >> 2 * shift & mask));
	if (!(link & IOMMU_LINK_VALID))
		return false;
	link = iommu_tce_load((void *)(base + link) + (at >> shift & mask));
	if (!(link & IOMMU_LINK_VALID))
		return false;
	link = iommu_tce_load((void *)(base + link) + (at & mask));
	if (!(link & IOMMU_LINK_VALID))
		return false;
	*tce = (__be64 *)(base + link) + idx % DOMAIN_LEAF;
	return true;
}

/* How many of the @n entries from @idx on are in its leaf */
static unsigned long to_leafs_end(unsigned long idx, unsigned long n)
{
	return min(n, DOMAIN_LEAF - idx % DOMAIN_LEAF);
}

/* @n TCEs in one leaf */
static void tces_set(__be64 *p, unsigned long n, u64 tce)
{
	for (; n; n--, p++, tce += PAGE_SIZE)
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

/* Of a TCE; 0 where it can't express @prot. A device that may write may read too. */
static unsigned long domain_perm(int prot)
{
	if (prot & IOMMU_WRITE)
		return TCE_PCI_WRITE | TCE_PCI_READ;
	return prot & IOMMU_READ ? TCE_PCI_READ : 0;
}

/* domain_map() of more than one page, or where there is no leaf yet */
static noinline int domain_map_pages(struct tce_domain *td, unsigned long idx, u64 tce,
				     size_t count, gfp_t gfp, size_t *mapped)
{
	unsigned long end = idx + count, n;
	__be64 *p;
	int ret;

	if (WARN_ON_ONCE(end > DOMAIN_PAGES || end < idx))
		return -ERANGE;

	for (; idx < end; idx += n) {
		n = 0;
		if (!domain_walk(td, idx, &p)) {
			ret = iommu_levels_grow_host(td->tbl, idx, gfp);
			if (ret)
				return ret;
			continue;
		}
		n = to_leafs_end(idx, end - idx);
		tces_set(p, n, tce);
		tce += n * PAGE_SIZE;
		*mapped += n * PAGE_SIZE;
	}
	return 0;
}

/* domain_unmap() of more than one page, or of a hole */
static noinline size_t domain_unmap_pages(struct iommu_domain *domain, unsigned long iova,
					  size_t pgsize, size_t count,
					  struct iommu_iotlb_gather *gather)
{
	const unsigned long first = iova >> PAGE_SHIFT, end = first + count;
	struct tce_domain *td = to_tce_domain(domain);
	unsigned long idx = first, n, cleared;
	__be64 *p;

	if (WARN_ON_ONCE(end > DOMAIN_PAGES || end <= first))
		return 0;
	do {
		if (!domain_walk(td, idx, &p))
			break;
		n = to_leafs_end(idx, end - idx);
		cleared = tces_clear(p, n);
		idx += cleared;
	} while (cleared == n && idx < end);

	n = idx - first;
	if (n && !iommu_levels_prune(td->tbl, first, n))
		iommu_iotlb_gather_add_range(gather, iova, n * pgsize);
	return n * pgsize;
}

static int domain_map(struct iommu_domain *domain, unsigned long iova, phys_addr_t pa,
		      size_t pgsize, size_t count, int prot, gfp_t gfp, size_t *mapped)
{
	struct tce_domain *td = to_tce_domain(domain);
	const unsigned long perm = domain_perm(prot), idx = iova >> PAGE_SHIFT;
	__be64 *p;

	if (!perm)
		return -EINVAL;
	if (count != 1 || !domain_walk(td, idx, &p))
		return domain_map_pages(td, idx, pa | perm, count, gfp, mapped);

	/* scattered memory comes page by page */
	iommu_tce_store(p, pa | perm);
	*mapped += PAGE_SIZE;
	return 0;
}

/* Up to the first page that is not mapped; levels that lie wholly in the range are freed. */
static size_t domain_unmap(struct iommu_domain *domain, unsigned long iova, size_t pgsize,
			   size_t count, struct iommu_iotlb_gather *gather)
{
	__be64 *p;

	if (count != 1 ||
	    !domain_walk(to_tce_domain(domain), iova >> PAGE_SHIFT, &p) || !READ_ONCE(*p))
		return domain_unmap_pages(domain, iova, pgsize, count, gather);

	/* scattered memory goes page by page */
	WRITE_ONCE(*p, 0);
	iommu_iotlb_gather_add_range(gather, iova, PAGE_SIZE);
	return PAGE_SIZE;
}

static phys_addr_t domain_iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	u64 tce = 0;
	__be64 *p;

	rcu_read_lock();
	if (domain_walk(to_tce_domain(domain), iova >> PAGE_SHIFT, &p))
		tce = iommu_tce_load(p);
	rcu_read_unlock();
	return tce ? (tce & PAGE_MASK) | (iova & ~PAGE_MASK) : 0;
}

static void domain_kill(struct iommu_table *tbl, unsigned long iova, size_t size)
{
	iommu_tce_kill(tbl, iova >> tbl->it_page_shift, size >> tbl->it_page_shift);
}

static int domain_sync_map(struct iommu_domain *domain, unsigned long iova, size_t size)
{
	domain_kill(domain_table(domain), iova, size);
	return 0;
}

static void domain_sync(struct iommu_domain *domain, struct iommu_iotlb_gather *gather)
{
	if (gather->end > gather->start)	/* nothing: start is ULONG_MAX */
		domain_kill(domain_table(domain), gather->start,
			    gather->end - gather->start + 1);
}

static const struct iommu_domain_ops domain_ops = {
	.attach_dev = spapr_tce_paging_iommu_attach_dev,
	.map_pages = domain_map,
	.unmap_pages = domain_unmap,
	.iova_to_phys = domain_iova_to_phys,
	.iotlb_sync_map = domain_sync_map,
	.iotlb_sync = domain_sync,
	.free = domain_free,
};

static struct iommu_domain *group_domain_alloc(struct iommu_table_group *table_group)
{
	struct tce_domain *td;
	struct iommu_table *tbl;
	int ret;

	if (!group_has_domains(table_group))
		return ERR_PTR(-EOPNOTSUPP);

	td = kzalloc_obj(*td, GFP_KERNEL_ACCOUNT);
	if (!td)
		return ERR_PTR(-ENOMEM);
	ret = table_group->ops->create_table(table_group, 0, PAGE_SHIFT, BIT_ULL(DOMAIN_SHIFT),
					     DOMAIN_LEVELS, NULL, &tbl);
	if (ret) {
		kfree(td);
		return ERR_PTR(ret);
	}

	if (WARN_ON_ONCE(!domain_shape(tbl))) {
		iommu_tce_table_put(tbl);
		kfree(td);
		return ERR_PTR(-EINVAL);
	}

	td->tbl = tbl;
	td->root = tbl->it_root;
	td->link_to_level = (unsigned long)__va(0) - IOMMU_LINK_VALID;
	td->domain.ops = &domain_ops;
	td->domain.pgsize_bitmap = PAGE_SIZE;
	td->domain.geometry.aperture_end = BIT(DOMAIN_SHIFT) - 1;
	td->domain.geometry.force_aperture = true;
	return &td->domain;
}

/**
 * spapr_tce_domain_alloc - make a paging domain
 * @dev: device that the domain is for
 *
 * Context: may sleep.
 * Return: the domain; -EOPNOTSUPP: the platform has none; -EINVAL: the PHB lacks the kernel's
 * page size; -ENOMEM.
 */
struct iommu_domain *spapr_tce_domain_alloc(struct device *dev)
{
	return group_domain_alloc(dev_table_group(dev));
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
 * @head: list to add to
 *
 * These are the PHB's MMIO windows, as the bridges keep requests to their own windows
 * below them, and 32-bit MSIs. 64-bit MSIs (bit 60) are outside of the aperture.
 *
 * Context: may sleep.
 */
void spapr_tce_get_resv_regions(struct device *dev, struct list_head *head)
{
	struct pci_controller *hose;
	struct resource *r;
	int i;

	if (!group_has_domains(dev_table_group(dev)) || !dev_is_pci(dev))
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

// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO containers on sPAPR TCE tables (POWER), versions 1 and 2.
 *
 * A container has groups, windows and, in version 2, registered memory:
 *
 *   group    an IOMMU group (PE). All groups of a container see the same windows.
 *   window   a TCE table that is set in every group: tables[0] (32-bit) and tables[1]. The
 *            container owns it from create to remove.
 *   region   pre-registered memory of the mm (asm/mm_iommu.h), of which the container
 *            owns one registration.
 *
 * Version 1 has one group and the default window. It charges the whole window when the
 * container is enabled, and pins pages when they are mapped; pages far beyond the charge are
 * charged as they are pinned. Version 2 maps registered memory only.
 *
 * For user space the *default window* exists from the first attach on, but it is created on
 * first use. Until then it is pending, and its slot is reserved.
 *
 * Entries are changed by the protocol of asm/iommu_user.h only.
 *
 * Locking.
 *
 *   eeh_lock         one EEH operation at a time. An operation waits for firmware and for
 *                    other resets of its PHB, so only EEH operations take it.
 *   container->lock  groups, windows and the charge of version 1: create, remove, enable,
 *                    disable, attach, detach. Detaching a group takes it, and so does
 *                    unbinding a driver. So nothing waits under it for user memory (but see
 *                    mmap_lock below), for a device's lock or for an EEH operation.
 *   region_lock      the tree of registrations. Memory is pinned without it: the tree
 *                    node itself is the claim.
 *   RCU              map and unmap find a window under RCU. For more than one entry they
 *                    reference its table. Entries have locks of their own.
 *
 * Order: vfio_container::group_lock, container->lock, region_lock. eeh_lock is taken before
 * container->lock. mmap_lock is taken inside all but eeh_lock, to
 * charge and uncharge. Only the process's own threads wait for it, and killably, see
 * mm_iommu_uncharge(). So detaching by others waits for a page fault of the process only where
 * a thread of the process holds a lock meanwhile, and killing the process ends that. An ioctl
 * references the container (struct vfio_container_iommu), so release runs after it.
 *
 * A window is removed in these steps:
 *
 *   1. remove it from tables[], so that no call finds it;
 *   2. revoke it, so that no entry can be set, not even by KVM. The same grace period serves
 *      step 1, and all windows that are removed together;
 *   3. clear and invalidate it, which drops all references and pins of its entries;
 *   4. unset it in the groups, reclaim its levels if KVM still has it, and put it.
 *
 * In version 1 a window is also revoked while the container is not enabled.
 */
#define pr_fmt(fmt) "vfio_spapr_tce: " fmt

#include <linux/err.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/pci.h>
#include <linux/rbtree.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/workqueue.h>
#include <asm/eeh.h>
#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/mm_iommu.h>
#include "vfio.h"

#define CREATE_TRACE_POINTS
#include "vfio_iommu_spapr_tce_trace.h"

/* Entries unmapped between two checks for a fatal signal */
#define TCE_UNMAP_CHUNK		BIT(20)

/* Unmaps of at least this size reclaim empty levels, which costs as much again. */
#define TCE_RECLAIM_ENTRIES	BIT(17)

/**
 * struct tce_group - a group in a container
 * @next: in container->groups
 * @grp: the group; VFIO references it while it is attached
 */
struct tce_group {
	struct list_head next;
	struct iommu_group *grp;
};

/**
 * struct tce_region - a registration that a container owns
 * @node: in container->regions
 * @vaddr: as registered; immutable
 * @size: as registered; immutable
 * @mem: the region; NULL while a call registers it
 * @refused: unregistering it was refused, as TCEs still led into it. It ends when a part of
 *	the range is registered again, see tce_regions_forget()
 *
 * container->region_lock protects all fields that are not immutable.
 */
struct tce_region {
	struct rb_node node;
	u64 vaddr;
	u64 size;
	struct mm_iommu_region *mem;
	bool refused;
};

/**
 * struct tce_container - IOMMU data of a VFIO container
 * @next: in tce_containers, until the last reference is dropped
 * @rcu: frees it
 * @ref: one from open to release, one of each walk that has found it in tce_containers
 * @lock: see the top of this file
 * @v2: version 2; immutable
 * @enabled: DMA may be mapped. v1: between ENABLE and DISABLE. v2: memory has been
 *	registered; never reset. Changed under @lock (v1) or @region_lock (v2). Without a lock
 *	it is a hint: the protocol checks whether the table is revoked (v1) or the memory
 *	registered (v2)
 * @def_window_pending: the default window is to be created; @lock
 * @locked_pages: charged by ENABLE; @lock
 * @mm: the owner, referenced; set once, by the first call that needs it
 * @tables: windows, NULL for none; changed under @lock, read under it or RCU
 * @groups: of struct tce_group; @lock
 * @eeh_lock: serializes EEH operations
 * @region_lock: protects @regions
 * @regions: of struct tce_region, by address and size; @region_lock
 */
struct tce_container {
	struct list_head next;
	struct rcu_head rcu;
	refcount_t ref;
	struct mutex lock;		/* windows, groups, the charge of v1 */
	bool v2;
	bool enabled;
	bool def_window_pending;
	unsigned long locked_pages;
	struct mm_struct *mm;
	struct iommu_table __rcu *tables[IOMMU_TABLE_GROUP_MAX_TABLES];
	struct list_head groups;
	struct mutex eeh_lock;		/* one EEH operation at a time */
	struct mutex region_lock;	/* regions */
	struct rb_root regions;
};

/* All containers of all processes (tce_containers_lock; readers: RCU) */
static LIST_HEAD(tce_containers);
static DEFINE_SPINLOCK(tce_containers_lock);

static void tce_container_put(struct tce_container *container)
{
	if (!refcount_dec_and_test(&container->ref))
		return;
	spin_lock(&tce_containers_lock);
	list_del_rcu(&container->next);
	spin_unlock(&tce_containers_lock);
	if (container->mm)
		mmdrop(container->mm);
	mutex_destroy(&container->region_lock);
	mutex_destroy(&container->eeh_lock);
	mutex_destroy(&container->lock);
	/* reclaim-walker */
	kfree_rcu(container, rcu);
}

/*
 * The next container of version 2 that is @mm's, or of all if @mm is NULL, referenced; NULL
 * after the last. @container is the one before, which is put, or NULL to begin. The caller
 * may sleep in between.
 */
static struct tce_container *tce_container_next(struct tce_container *container,
						struct mm_struct *mm)
{
	struct tce_container *next, *found = NULL;

	rcu_read_lock();
	next = container ?: list_entry(&tce_containers, struct tce_container, next);
	list_for_each_entry_continue_rcu(next, &tce_containers, next) {
		if (mm && (!next->v2 || READ_ONCE(next->mm) != mm))
			continue;
		if (refcount_inc_not_zero(&next->ref)) {
			found = next;
			break;
		}
	}
	rcu_read_unlock();
	if (container)
		tce_container_put(container);
	return found;
}

/* Make current's mm the container's owner, unless it has another one. */
static int tce_mm_set(struct tce_container *container)
{
	struct mm_struct *mm = current->mm, *old;

	if (READ_ONCE(container->mm) == mm)
		return 0;
	mmgrab(mm);
	old = cmpxchg(&container->mm, NULL, mm);
	if (!old)
		return 0;
	mmdrop(mm);
	return old == mm ? 0 : -EPERM;
}

/* ---- registered memory ---- */

static int tce_region_find_cmp(const void *key, const struct rb_node *node)
{
	const struct tce_region *want = key, *region = rb_entry(node, struct tce_region, node);

	if (want->vaddr != region->vaddr)
		return want->vaddr < region->vaddr ? -1 : 1;
	return want->size < region->size ? -1 : want->size > region->size;
}

static int tce_region_add_cmp(struct rb_node *new, const struct rb_node *node)
{
	return tce_region_find_cmp(rb_entry(new, struct tce_region, node), node);
}

static struct tce_region *tce_region_find(struct tce_container *container,
					  const struct tce_region *want)
{
	lockdep_assert_held(&container->region_lock);
	return rb_entry_safe(rb_find(want, &container->regions, tce_region_find_cmp),
			     struct tce_region, node);
}

/* The table of a window, referenced; NULL if there is no such window */
static struct iommu_table *tce_window_get(struct tce_container *container,
					  unsigned int num)
{
	struct iommu_table *tbl;

	guard(rcu)();
	tbl = rcu_dereference(container->tables[num]);
	return tbl ? iommu_tce_table_get(tbl) : NULL;
}

/* Clear the container's TCEs that lead into a range of user memory. */
static long tce_ua_clear(struct tce_container *container, u64 vaddr, u64 size)
{
	struct iommu_table *tbl;
	unsigned int num;
	long ret = 0;

	for (num = 0; ret >= 0 && num < ARRAY_SIZE(container->tables); num++) {
		tbl = tce_window_get(container, num);
		if (!tbl)
			continue;
		ret = iommu_user_unmap_ua(tbl, vaddr, size);
		iommu_tce_table_put(tbl);
	}
	return ret;
}

/* Repeat a refused unregistration, after the TCEs that led into the range were cleared. */
static long tce_region_forget(struct tce_container *container, u64 vaddr, u64 size)
{
	struct tce_region want = { .vaddr = vaddr, .size = size }, *region;
	int ret = 0;

	mutex_lock(&container->region_lock);
	region = tce_region_find(container, &want);
	if (region && region->refused) {
		ret = mm_iommu_unregister_last(container->mm, region->mem);
		if (!ret) {
			rb_erase(&region->node, &container->regions);
			kfree(region);
		}
	}
	mutex_unlock(&container->region_lock);
	return ret;
}

/* Make @range that of a refused unregistration which it overlaps. */
static bool tce_region_refused(struct tce_container *container, struct tce_region *range)
{
	struct tce_region *region;
	struct rb_node *node;
	bool found = false;

	mutex_lock(&container->region_lock);
	for (node = rb_first(&container->regions); node && !found; node = rb_next(node)) {
		region = rb_entry(node, struct tce_region, node);
		found = region->refused && region->vaddr < range->vaddr + range->size &&
			range->vaddr < region->vaddr + region->size;
		if (found) {
			range->vaddr = region->vaddr;
			range->size = region->size;
		}
	}
	mutex_unlock(&container->region_lock);
	return found;
}

/*
 * All containers of the process have unregistered a range, the last one without success, as
 * TCEs led into it. Now a part of it is registered again: a guest released a DIMM without
 * clearing its TCEs, and got other memory at addresses that the DIMM had. Clear these TCEs,
 * whichever container they are in, as devices would use the old pages, and free the range.
 * -ENOENT: there is no such range.
 */
static int tce_regions_forget(struct mm_struct *mm, u64 vaddr, u64 size)
{
	struct tce_region range = { .vaddr = vaddr, .size = size };
	struct tce_container *container = NULL;
	bool found = false;
	long ret = 0;

	while (!found && (container = tce_container_next(container, mm)))
		found = tce_region_refused(container, &range);
	if (container)
		tce_container_put(container);
	if (!found)
		return -ENOENT;

	container = NULL;
	while ((container = tce_container_next(container, mm)))
		if (ret >= 0)
			ret = tce_ua_clear(container, range.vaddr, range.size);
	while ((container = tce_container_next(container, mm)))
		if (ret >= 0)
			ret = tce_region_forget(container, range.vaddr, range.size);
	return min(ret, 0L);
}

/*
 * A node in the tree claims the range: a second call with the same range fails immediately.
 * -ESTALE: unregistering the range was refused, see tce_regions_forget().
 */
static int tce_region_try_register(struct tce_container *container, u64 vaddr, u64 size)
{
	struct mm_iommu_region *mem;
	struct tce_region *region;
	struct rb_node *node;
	int ret = 0;

	region = kzalloc_obj(*region, GFP_KERNEL_ACCOUNT);
	if (!region)
		return -ENOMEM;
	region->vaddr = vaddr;
	region->size = size;
	mutex_lock(&container->region_lock);
	node = rb_find_add(&region->node, &container->regions, tce_region_add_cmp);
	if (node)
		ret = rb_entry(node, struct tce_region, node)->refused ? -ESTALE : -EBUSY;
	mutex_unlock(&container->region_lock);
	if (ret) {
		kfree(region);
		return ret;
	}

	/* Pinning may take long and wait for user memory, so no lock is held. */
	ret = mm_iommu_register(container->mm, vaddr, size, &mem);

	mutex_lock(&container->region_lock);
	if (ret) {
		rb_erase(&region->node, &container->regions);
		kfree(region);
	} else {
		region->mem = mem;
		WRITE_ONCE(container->enabled, true);
	}
	mutex_unlock(&container->region_lock);
	return ret;
}

static int tce_region_register(struct tce_container *container, u64 vaddr, u64 size)
{
	bool missed = false;
	int ret;

	for (;;) {
		ret = tce_region_try_register(container, vaddr, size);
		if (ret != -ESTALE)
			return ret;
		/* There may be several, and another call may have freed one since. */
		ret = tce_regions_forget(container->mm, vaddr, size);
		if (ret == -ENOENT && !missed)
			missed = true;
		else if (ret)
			return ret == -ENOENT ? -EBUSY : ret;
	}
}

static int tce_region_unregister(struct tce_container *container, u64 vaddr, u64 size)
{
	struct tce_region want = { .vaddr = vaddr, .size = size }, *region;
	int ret = -ENOENT;

	mutex_lock(&container->region_lock);
	region = tce_region_find(container, &want);
	if (region && region->mem) {
		ret = mm_iommu_unregister(container->mm, region->mem);
		if (!ret) {
			rb_erase(&region->node, &container->regions);
			kfree(region);
		} else if (ret == -EBUSY) {
			region->refused = true;
		}
	}
	mutex_unlock(&container->region_lock);
	return ret;
}

/* At release: no window and no call is left. Regions that others map become orphans. */
static void tce_regions_release(struct tce_container *container)
{
	struct tce_region *region, *next;

	/* tce_regions_forget() of another container may be using the tree. */
	mutex_lock(&container->region_lock);
	rbtree_postorder_for_each_entry_safe(region, next, &container->regions, node) {
		mm_iommu_abandon(container->mm, region->mem);
		kfree(region);
		cond_resched();
	}
	container->regions = RB_ROOT;
	mutex_unlock(&container->region_lock);
}

/* ---- windows ---- */

static struct iommu_table_group *tce_table_group(struct tce_group *group)
{
	return iommu_group_get_iommudata(group->grp);
}

/* The first group stands for all, which are compatible; NULL if there is none. */
static struct iommu_table_group *tce_first_table_group(struct tce_container *container)
{
	struct tce_group *group;

	lockdep_assert_held(&container->lock);
	group = list_first_entry_or_null(&container->groups, struct tce_group, next);
	return group ? tce_table_group(group) : NULL;
}

static u64 tce_window_start(struct iommu_table *tbl)
{
	return (u64)tbl->it_offset << tbl->it_page_shift;
}

/* The window's table for a holder of container->lock */
static struct iommu_table *tce_window(struct tce_container *container, unsigned int num)
{
	return rcu_dereference_protected(container->tables[num],
					 lockdep_is_held(&container->lock));
}

/* The table of the window with @iova, valid until rcu_read_unlock() */
static struct iommu_table *tce_window_find(struct tce_container *container, u64 iova)
{
	struct iommu_table *tbl;
	unsigned int num;

	for (num = 0; num < ARRAY_SIZE(container->tables); num++) {
		tbl = rcu_dereference(container->tables[num]);
		if (tbl && (iova >> tbl->it_page_shift) - tbl->it_offset < tbl->it_size)
			return tbl;
	}
	return NULL;
}

/* A free slot for a window. The pending default window has one reserved. */
static int tce_window_slot(struct tce_container *container)
{
	unsigned int num;

	for (num = 0; num < ARRAY_SIZE(container->tables); num++)
		if (!tce_window(container, num) && (num || !container->def_window_pending))
			return num;
	return -ENOSPC;
}

/* Clear all of a revoked table, and drop all references and pins of its entries. */
static void tce_window_clear(struct iommu_table *tbl)
{
	struct iommu_user_gather g __uninitialized;

	iommu_user_begin(&g, tbl, false);
	iommu_user_unmap(&g, tbl->it_offset, tbl->it_size);
	iommu_user_finish(&g);
	if (tbl->it_pins)
		iommu_user_pins_uncharge(tbl);
}

/* Clear a revoked table, unset it in the groups before @end (NULL: in all), put it. */
static void tce_window_drop(struct tce_container *container, unsigned int num,
			    struct iommu_table *tbl, struct tce_group *end)
{
	struct iommu_table_group *table_group;
	struct tce_group *group;

	lockdep_assert_held(&container->lock);
	tce_window_clear(tbl);
	list_for_each_entry(group, &container->groups, next) {
		if (group == end)
			break;
		table_group = tce_table_group(group);
		table_group->ops->unset_window(table_group, num);
	}
	/*
	 * KVM may keep the table until its LIOBN is closed. User space may create the next
	 * window before, so uncharge all levels but the top one now.
	 */
	if (kref_read(&tbl->it_kref) > 1)
		iommu_levels_reclaim(tbl, 0, tbl->it_size);
	iommu_tce_table_put(tbl);
}

/* From now on no call finds the window. */
static struct iommu_table *tce_window_take(struct tce_container *container,
					   unsigned int num)
{
	return rcu_replace_pointer(container->tables[num], NULL,
				   lockdep_is_held(&container->lock));
}

/* Remove the windows of @mask, which has a bit per slot. Skip slots without a window. */
static void tce_windows_remove(struct tce_container *container, unsigned int mask)
{
	struct iommu_table *tbl[IOMMU_TABLE_GROUP_MAX_TABLES] = {};
	unsigned int num;

	lockdep_assert_held(&container->lock);
	for (num = 0; num < ARRAY_SIZE(tbl); num++)
		if (mask & BIT(num))
			tbl[num] = tce_window_take(container, num);
	iommu_user_revoke(tbl, ARRAY_SIZE(tbl));
	for (num = 0; num < ARRAY_SIZE(tbl); num++) {
		if (!tbl[num])
			continue;
		trace_vfio_spapr_tce_window_remove(container, tce_window_start(tbl[num]));
		tce_window_drop(container, num, tbl[num], NULL);
	}
}

/* Set all windows in a group that joins; on error set none. */
static int tce_group_set_windows(struct tce_container *container,
				 struct iommu_table_group *table_group)
{
	struct iommu_table *tbl;
	int num, ret = 0;

	lockdep_assert_held(&container->lock);
	for (num = 0; num < ARRAY_SIZE(container->tables); num++) {
		tbl = tce_window(container, num);
		if (!tbl)
			continue;
		ret = table_group->ops->set_window(table_group, num, tbl);
		if (ret)
			break;
	}
	while (ret && num--)
		if (tce_window(container, num))
			table_group->ops->unset_window(table_group, num);
	return ret;
}

/* Set a new table in all groups. On error it is set in none and has been put. */
static int tce_window_set(struct tce_container *container, unsigned int num,
			  struct iommu_table *tbl)
{
	struct iommu_table_group *table_group;
	struct tce_group *group;
	int ret;

	lockdep_assert_held(&container->lock);
	list_for_each_entry(group, &container->groups, next) {
		table_group = tce_table_group(group);
		ret = table_group->ops->set_window(table_group, num, tbl);
		if (ret) {
			/* KVM may have found it in a group. */
			iommu_user_revoke(&tbl, 1);
			tce_window_drop(container, num, tbl, group);
			return ret;
		}
	}
	rcu_assign_pointer(container->tables[num], tbl);
	return 0;
}

static int tce_window_create(struct tce_container *container, unsigned int num,
			     const struct vfio_iommu_spapr_tce_create *create)
{
	struct iommu_table_group *table_group = tce_first_table_group(container);
	struct iommu_table *tbl = NULL;
	int ret;

	if (!table_group)
		return -ENXIO;
	/* Checks the arguments, charges what it allocates, and undoes both on error. */
	ret = table_group->ops->create_table(table_group, num, create->page_shift,
					     create->window_size, create->levels,
					     container->mm, &tbl);
	if (ret)
		return ret;
	/* Before a group has the table, as KVM and devices find it there. */
	if (!container->v2)
		iommu_user_pins_init(tbl, !container->enabled);
	return tce_window_set(container, num, tbl);
}

static int tce_default_window_create(struct tce_container *container)
{
	struct iommu_table_group *table_group = tce_first_table_group(container);
	struct vfio_iommu_spapr_tce_create create = {
		.page_shift = IOMMU_PAGE_SHIFT_4K,
		.levels = 1,
	};
	int ret;

	if (!table_group)
		return -ENODEV;
	create.window_size = table_group->tce32_size;
	ret = tce_window_create(container, 0, &create);
	trace_vfio_spapr_tce_window_create(container, table_group->tce32_start,
					   create.window_size, create.page_shift,
					   create.levels, ret);
	if (!ret)
		container->def_window_pending = false;
	return ret;
}

static struct iommu_table *tce_window_find_get(struct tce_container *container, u64 iova)
{
	struct iommu_table *tbl;

	guard(rcu)();
	tbl = tce_window_find(container, iova);
	return tbl ? iommu_tce_table_get(tbl) : NULL;
}

/*
 * The table of the window with @iova, referenced. If there is none, create the pending
 * default window. -ENXIO: no window has the address.
 */
static struct iommu_table *tce_window_get_at(struct tce_container *container, u64 iova)
{
	struct iommu_table *tbl = tce_window_find_get(container, iova);
	int ret = 0;

	if (tbl)
		return tbl;

	if (mutex_lock_killable(&container->lock))
		return ERR_PTR(-EINTR);
	/* Another call may have created it since. */
	tbl = tce_window_find_get(container, iova);
	if (!tbl && container->def_window_pending) {
		ret = tce_default_window_create(container);
		tbl = tce_window_find_get(container, iova);
	}
	mutex_unlock(&container->lock);
	return tbl ?: ERR_PTR(ret ?: -ENXIO);
}

/* ---- ioctls ---- */

union tce_param {
	struct {
		__u32 argsz;
		__u32 flags;
	};
	struct vfio_iommu_spapr_tce_info info;
	struct vfio_iommu_type1_dma_map map;
	struct vfio_iommu_type1_dma_unmap unmap;
	struct vfio_iommu_spapr_register_memory memory;
	struct vfio_iommu_spapr_tce_create create;
	struct vfio_iommu_spapr_tce_remove remove;
	struct vfio_eeh_pe_op eeh;
};

static int tce_ioctl_get_info(struct tce_container *container, union tce_param *param,
			      void __user *arg)
{
	struct vfio_iommu_spapr_tce_info *info = &param->info;
	struct iommu_table_group *table_group;
	size_t size = offsetofend(typeof(*info), dma32_window_size);

	if (info->argsz >= sizeof(*info))
		size = sizeof(*info);
	info->flags = 0;
	memset(&info->ddw, 0, sizeof(info->ddw));

	if (mutex_lock_killable(&container->lock))
		return -EINTR;
	table_group = tce_first_table_group(container);
	if (table_group) {
		info->dma32_window_start = table_group->tce32_start;
		info->dma32_window_size = table_group->tce32_size;
		if (container->v2 && table_group->max_dynamic_windows_supported) {
			info->flags = VFIO_IOMMU_SPAPR_INFO_DDW;
			info->ddw.pgsizes = table_group->pgsizes;
			info->ddw.max_dynamic_windows_supported =
				table_group->max_dynamic_windows_supported;
			info->ddw.levels = table_group->max_levels;
		}
	}
	mutex_unlock(&container->lock);

	if (!table_group)
		return -ENXIO;
	return copy_to_user(arg, info, size) ? -EFAULT : 0;
}

/* The entries of [iova, iova + size), which must be whole, at least one, and all in @tbl */
static int tce_range(struct iommu_table *tbl, u64 iova, u64 size,
		     unsigned long *entry, unsigned long *n)
{
	if (!size || size & (BIT_ULL(tbl->it_page_shift) - 1))
		return -EINVAL;
	*entry = iova >> tbl->it_page_shift;
	*n = size >> tbl->it_page_shift;
	return iommu_tce_check_ioba(tbl->it_page_shift, tbl->it_offset, tbl->it_size,
				    iova, *n);
}

/*
 * The most frequent case, one entry: try it in one section, without a reference on the table.
 * @dir is DMA_NONE to unmap. Returns whether the entry was live before; < 0: take the general
 * path.
 */
static int tce_one(struct tce_container *container, u64 iova, u64 size, u64 vaddr,
		   enum dma_data_direction dir)
{
	struct iommu_table *tbl;
	unsigned long entry;
	int ret = -EAGAIN;

	iommu_user_enter();
	tbl = tce_window_find(container, iova);
	if (!tbl || size != BIT_ULL(tbl->it_page_shift) || (iova | vaddr) & (size - 1))
		goto leave;
	entry = iova >> tbl->it_page_shift;
	if (dir == DMA_NONE)
		ret = iommu_user_try_unmap_one(tbl, entry, false);
	else
		ret = iommu_user_try_map_one(tbl, entry,
					     iommu_view_word(vaddr, dir != DMA_TO_DEVICE), false);
leave:
	iommu_user_leave();
	return ret;
}

static int tce_map(struct iommu_table *tbl, const struct vfio_iommu_type1_dma_map *map,
		   enum dma_data_direction dir)
{
	struct iommu_user_gather g __uninitialized;
	unsigned long entry, n, done;
	int ret;

	ret = tce_range(tbl, map->iova, map->size, &entry, &n);
	if (ret)
		return ret;
	if (map->vaddr & (BIT_ULL(tbl->it_page_shift) - 1) ||
	    map->vaddr + map->size < map->vaddr)
		return -EINVAL;

	iommu_user_begin(&g, tbl, false);
	ret = iommu_user_map(&g, entry, n, map->vaddr, dir, &done);
	/* All or nothing. What replaced entries held is not restored. */
	if (ret && done)
		iommu_user_unmap(&g, entry, done);
	iommu_user_finish(&g);
	return ret;
}

/*
 * Map in the window with the address. Only creating the default window, if it is still to be made,
 * takes container->lock.
 */
static int tce_window_map(struct tce_container *container,
			  const struct vfio_iommu_type1_dma_map *map,
			  enum dma_data_direction dir)
{
	struct iommu_table *tbl;
	int ret;

	if (tce_one(container, map->iova, map->size, map->vaddr, dir) >= 0)
		return 0;
	tbl = tce_window_get_at(container, map->iova);
	if (IS_ERR(tbl))
		return PTR_ERR(tbl);
	ret = tce_map(tbl, map, dir);
	iommu_tce_table_put(tbl);
	return ret;
}

static int tce_ioctl_map(struct tce_container *container, union tce_param *param,
			 void __user *arg)
{
	struct vfio_iommu_type1_dma_map *map = &param->map;
	enum dma_data_direction dir;
	int ret;

	switch (map->flags) {
	case VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE:
		dir = DMA_BIDIRECTIONAL;
		break;
	case VFIO_DMA_MAP_FLAG_READ:
		dir = DMA_TO_DEVICE;
		break;
	case VFIO_DMA_MAP_FLAG_WRITE:
		dir = DMA_FROM_DEVICE;
		break;
	default:
		return -EINVAL;
	}
	if (!READ_ONCE(container->enabled))
		return -EPERM;
	ret = tce_window_map(container, map, dir);
	trace_vfio_spapr_tce_map(container, map->iova, map->size, map->vaddr,
				 map->flags, ret);
	return ret;
}

/* Unmap entries of a window, and add the bytes that were mapped to @size. */
static int tce_unmap_entries(struct iommu_table *tbl, unsigned long entry,
			     unsigned long n, u64 *size)
{
	unsigned long idx = entry - tbl->it_offset, left, k;
	struct iommu_user_gather g __uninitialized;
	int ret = 0;

	iommu_user_begin(&g, tbl, false);
	for (left = n; left; left -= k, entry += k) {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		k = min(left, TCE_UNMAP_CHUNK);
		*size += (u64)iommu_user_unmap(&g, entry, k) << tbl->it_page_shift;
	}
	iommu_user_finish(&g);
	if (!ret && n >= TCE_RECLAIM_ENTRIES)
		iommu_levels_reclaim(tbl, idx, n);
	return ret;
}

static int tce_unmap_all(struct tce_container *container, u64 *size)
{
	struct iommu_table *tbl;
	unsigned int num;
	int ret = 0;

	for (num = 0; !ret && num < ARRAY_SIZE(container->tables); num++) {
		tbl = tce_window_get(container, num);
		if (!tbl)
			continue;
		ret = tce_unmap_entries(tbl, tbl->it_offset, tbl->it_size, size);
		iommu_tce_table_put(tbl);
	}
	return ret;
}

static int tce_unmap(struct tce_container *container,
		     const struct vfio_iommu_type1_dma_unmap *unmap, u64 *size)
{
	unsigned long entry, n;
	struct iommu_table *tbl;
	int ret;

	if (unmap->flags & VFIO_DMA_UNMAP_FLAG_ALL)
		return unmap->iova || unmap->size ? -EINVAL : tce_unmap_all(container, size);
	ret = tce_one(container, unmap->iova, unmap->size, 0, DMA_NONE);
	if (ret >= 0) {
		*size = ret ? unmap->size : 0;
		return 0;
	}

	tbl = tce_window_get_at(container, unmap->iova);
	if (IS_ERR(tbl))
		return PTR_ERR(tbl);
	ret = tce_range(tbl, unmap->iova, unmap->size, &entry, &n);
	if (!ret)
		ret = tce_unmap_entries(tbl, entry, n, size);
	iommu_tce_table_put(tbl);
	return ret;
}

static int tce_ioctl_unmap(struct tce_container *container, union tce_param *param,
			   void __user *arg)
{
	struct vfio_iommu_type1_dma_unmap *unmap = &param->unmap;
	u64 __user *out = arg + offsetof(typeof(*unmap), size);
	u64 size = 0;
	int ret;

	if (!READ_ONCE(container->enabled))
		return -EPERM;
	ret = tce_unmap(container, unmap, &size);
	trace_vfio_spapr_tce_unmap(container, unmap->iova, unmap->size, unmap->flags,
				   size, ret);
	/* Usually all of it was mapped, and the argument already has that size. */
	if (!ret && size != unmap->size && put_user(size, out))
		ret = -EFAULT;
	return ret;
}

static int tce_ioctl_register(struct tce_container *container, union tce_param *param,
			      void __user *arg)
{
	struct vfio_iommu_spapr_register_memory *memory = &param->memory;
	int ret = tce_mm_set(container);

	if (ret)
		return ret;
	ret = tce_region_register(container, memory->vaddr, memory->size);
	trace_vfio_spapr_tce_register(container, memory->vaddr, memory->size, ret);
	return ret;
}

static int tce_ioctl_unregister(struct tce_container *container, union tce_param *param,
				void __user *arg)
{
	struct vfio_iommu_spapr_register_memory *memory = &param->memory;
	int ret;

	if ((memory->vaddr | memory->size) & ~PAGE_MASK)
		return -EINVAL;
	ret = tce_region_unregister(container, memory->vaddr, memory->size);
	trace_vfio_spapr_tce_unregister(container, memory->vaddr, memory->size, ret);
	return ret;
}

/* v1: charge the window, and allow entries to be set. */
static int tce_enable(struct tce_container *container)
{
	struct iommu_table_group *table_group = tce_first_table_group(container);
	struct iommu_table *tbl;
	unsigned long pages;
	int ret;

	if (container->enabled)
		return -EBUSY;
	if (!table_group)
		return -ENODEV;
	if (!table_group->tce32_size)
		return -EPERM;
	ret = tce_mm_set(container);
	if (ret)
		return ret;

	/*
	 * The whole window is charged now: charging page by page would cost more than
	 * mapping, and a guest's H_PUT_TCE has no good way to fail. Only memory scattered
	 * in parts smaller than a page takes more, see iommu_user_pins.c.
	 */
	pages = table_group->tce32_size >> PAGE_SHIFT;
	ret = mm_iommu_charge(container->mm, pages);
	if (ret)
		return ret;
	container->locked_pages = pages;
	WRITE_ONCE(container->enabled, true);
	/* tce_disable() left the table, with all entries clear. */
	tbl = tce_window(container, 0);
	if (tbl)
		WRITE_ONCE(tbl->it_revoked, false);
	return 0;
}

static int tce_ioctl_enable(struct tce_container *container, union tce_param *param,
			    void __user *arg)
{
	int ret;

	if (mutex_lock_killable(&container->lock))
		return -EINTR;
	ret = tce_enable(container);
	mutex_unlock(&container->lock);
	return ret;
}

/* v1: clear and revoke the windows, then uncharge: nothing is mapped without a charge. */
static void tce_disable(struct tce_container *container)
{
	struct iommu_table *tbl = tce_window(container, 0);

	lockdep_assert_held(&container->lock);
	if (!container->locked_pages)
		return;
	WRITE_ONCE(container->enabled, false);
	if (tbl) {
		iommu_user_revoke(&tbl, 1);
		tce_window_clear(tbl);
	}
	mm_iommu_uncharge(container->mm, container->locked_pages);
	container->locked_pages = 0;
}

static int tce_ioctl_disable(struct tce_container *container, union tce_param *param,
			     void __user *arg)
{
	if (mutex_lock_killable(&container->lock))
		return -EINTR;
	/* The container may have got an owner since the dispatcher checked. */
	if (container->mm == current->mm)
		tce_disable(container);
	mutex_unlock(&container->lock);
	return 0;
}

static int tce_ioctl_create(struct tce_container *container, union tce_param *param,
			    void __user *arg)
{
	struct vfio_iommu_spapr_tce_create *create = &param->create;
	u64 __user *out = arg + offsetof(typeof(*create), start_addr);
	int ret = tce_mm_set(container), num;
	struct iommu_table *tbl = NULL;
	u64 start = 0;

	if (ret)
		return ret;
	if (mutex_lock_killable(&container->lock))
		return -EINTR;
	num = tce_window_slot(container);
	ret = num < 0 ? num : tce_window_create(container, num, create);
	if (!ret) {
		tbl = iommu_tce_table_get(tce_window(container, num));
		start = tce_window_start(tbl);
	}
	trace_vfio_spapr_tce_window_create(container, start, create->window_size,
					   create->page_shift, create->levels, ret);
	mutex_unlock(&container->lock);
	if (ret)
		return ret;

	/*
	 * User space needs the start to use or remove the window. put_user() may wait for
	 * user memory, so the lock is not held.
	 */
	if (put_user(start, out)) {
		ret = -EFAULT;
		mutex_lock(&container->lock);
		if (tce_window(container, num) == tbl)
			tce_windows_remove(container, BIT(num));
		mutex_unlock(&container->lock);
	}
	iommu_tce_table_put(tbl);
	return ret;
}

/* A mask with a bit for each slot whose window starts at @start */
static unsigned int tce_windows_at(struct tce_container *container, u64 start)
{
	unsigned int num, mask = 0;

	for (num = 0; num < ARRAY_SIZE(container->tables); num++)
		if (tce_window(container, num) &&
		    tce_window_start(tce_window(container, num)) == start)
			mask |= BIT(num);
	return mask;
}

static int tce_ioctl_remove(struct tce_container *container, union tce_param *param,
			    void __user *arg)
{
	u64 start = param->remove.start_addr;
	struct iommu_table_group *table_group;
	int ret = tce_mm_set(container);
	unsigned int mask;

	if (ret)
		return ret;
	if (mutex_lock_killable(&container->lock))
		return -EINTR;
	table_group = tce_first_table_group(container);
	mask = tce_windows_at(container, start);
	if (!table_group) {
		ret = -ENXIO;
	} else if (container->def_window_pending && start == table_group->tce32_start) {
		container->def_window_pending = false;
		trace_vfio_spapr_tce_window_remove(container, start);
	} else if (mask) {
		tce_windows_remove(container, mask);
	} else {
		ret = -EINVAL;
	}
	mutex_unlock(&container->lock);
	return ret;
}

/* ---- EEH ---- */

#ifdef CONFIG_EEH

static int tce_eeh_op(struct eeh_pe *pe, const struct vfio_eeh_pe_op *op)
{
	switch (op->op) {
	case VFIO_EEH_PE_DISABLE:
		return eeh_pe_set_option(pe, EEH_OPT_DISABLE);
	case VFIO_EEH_PE_ENABLE:
		return eeh_pe_set_option(pe, EEH_OPT_ENABLE);
	case VFIO_EEH_PE_UNFREEZE_IO:
		return eeh_pe_set_option(pe, EEH_OPT_THAW_MMIO);
	case VFIO_EEH_PE_UNFREEZE_DMA:
		return eeh_pe_set_option(pe, EEH_OPT_THAW_DMA);
	case VFIO_EEH_PE_GET_STATE:
		/* Returns VFIO_EEH_PE_STATE_*, the only result that is a return value */
		return eeh_pe_get_state(pe);
	case VFIO_EEH_PE_RESET_DEACTIVATE:
		return eeh_pe_reset(pe, EEH_RESET_DEACTIVATE, true);
	case VFIO_EEH_PE_RESET_HOT:
		return eeh_pe_reset(pe, EEH_RESET_HOT, true);
	case VFIO_EEH_PE_RESET_FUNDAMENTAL:
		return eeh_pe_reset(pe, EEH_RESET_FUNDAMENTAL, true);
	case VFIO_EEH_PE_CONFIGURE:
		return eeh_pe_configure(pe);
	case VFIO_EEH_PE_INJECT_ERR:
		return eeh_pe_inject_err(pe, op->err.type, op->err.func,
					 op->err.addr, op->err.mask);
	default:
		return -EINVAL;
	}
}

/*
 * The object of an EEH operation. An operation waits for firmware, so no lock that detaching
 * needs is held meanwhile. Instead it references the PE and the devices, which keep their
 * buses and bridges. A group may leave before an operation ends, even before it begins.
 * tce_eeh_op_on() leaves no device in reset then.
 *
 * The last reference of a device that was removed meanwhile makes the platform release the
 * device's share of the PE, which must not happen while devices are being found. The user
 * must not wait for the lock that excludes this, as its holder may wait for the user. So
 * tce_eeh_wq drops last references.
 */
struct tce_eeh_target {
	struct work_struct work;
	struct eeh_pe *pe;
	struct pci_dev **pdev;
	unsigned int nr;
};

static struct workqueue_struct *tce_eeh_wq;

static int tce_eeh_hold_dev(struct device *dev, void *data)
{
	struct tce_eeh_target *target = data;
	struct pci_dev **pdev;

	if (!dev_is_pci(dev))
		return 0;
	pdev = krealloc_array(target->pdev, target->nr + 1, sizeof(*pdev), GFP_KERNEL_ACCOUNT);
	if (!pdev)
		return -ENOMEM;
	pdev[target->nr++] = pci_dev_get(to_pci_dev(dev));
	target->pdev = pdev;
	return 0;
}

/* Drop the references that are left, see above; with @locked all of them. */
static bool tce_eeh_put(struct tce_eeh_target *target, bool locked)
{
	struct device *dev;

	for (; target->nr; target->nr--) {
		dev = &target->pdev[target->nr - 1]->dev;
		if (locked)
			put_device(dev);
		else if (!refcount_dec_not_one(&dev->kobj.kref.refcount))
			return false;
	}
	/* After the devices: a VF's pci_dn, which its pci_dev uses to the end, goes with the PE. */
	if (target->pe)
		eeh_pe_put(target->pe);
	kfree(target->pdev);
	kfree(target);
	return true;
}

static void tce_eeh_put_work(struct work_struct *work)
{
	struct tce_eeh_target *target = container_of(work, struct tce_eeh_target, work);

	pci_lock_rescan_remove();
	tce_eeh_put(target, true);
	pci_unlock_rescan_remove();
}

static void tce_eeh_release(struct tce_eeh_target *target)
{
	if (tce_eeh_put(target, false))
		return;
	INIT_WORK(&target->work, tce_eeh_put_work);
	queue_work(tce_eeh_wq, &target->work);
}

/* Reference the PE of a group and its devices. -ENODEV: it has no PE, or no device any more. */
static struct tce_eeh_target *tce_eeh_target_get(struct iommu_group *grp)
{
	struct tce_eeh_target *target = kzalloc_obj(*target, GFP_KERNEL_ACCOUNT);
	int ret;

	if (!target)
		return ERR_PTR(-ENOMEM);
	target->pe = eeh_iommu_group_to_pe(grp);
	ret = target->pe ? iommu_group_for_each_dev(grp, target, tce_eeh_hold_dev) : -ENODEV;
	if (!ret && !target->nr)
		ret = -ENODEV;
	if (!ret)
		return target;
	tce_eeh_release(target);
	return ERR_PTR(ret);
}

/* The target in the container's group number @which; NULL: there are fewer; -ENODEV: none. */
static struct tce_eeh_target *tce_eeh_hold(struct tce_container *container, unsigned int which)
{
	struct tce_eeh_target *target = NULL;
	struct tce_group *group;

	if (mutex_lock_killable(&container->lock))
		return ERR_PTR(-EINTR);
	if (list_empty(&container->groups))
		target = ERR_PTR(-ENODEV);
	list_for_each_entry(group, &container->groups, next) {
		if (which--)
			continue;
		target = tce_eeh_target_get(group->grp);
		break;
	}
	mutex_unlock(&container->lock);
	return target;
}

/* Is a group with this PE still in the container? */
static bool tce_eeh_has(struct tce_container *container, struct eeh_pe *pe)
{
	struct tce_group *group;
	struct eeh_pe *other;
	bool found = false;

	mutex_lock(&container->lock);
	list_for_each_entry(group, &container->groups, next) {
		other = eeh_iommu_group_to_pe(group->grp);
		found |= other == pe;
		if (other)
			eeh_pe_put(other);
	}
	mutex_unlock(&container->lock);
	return found;
}

/* The operation itself. If the group leaves meanwhile, its next owner does not know of a reset. */
static int tce_eeh_op_on(struct tce_container *container, struct eeh_pe *pe,
			 const struct vfio_eeh_pe_op *op)
{
	bool reset = op->op == VFIO_EEH_PE_RESET_HOT || op->op == VFIO_EEH_PE_RESET_FUNDAMENTAL;
	int ret;

	eeh_pe_pass(pe);
	ret = tce_eeh_has(container, pe) ? tce_eeh_op(pe, op) : -ENODEV;
	if (reset && !tce_eeh_has(container, pe))
		eeh_pe_reset(pe, EEH_RESET_DEACTIVATE, true);
	eeh_pe_unpass(pe);
	return ret;
}

/* Operate on each group in turn, until one fails or, for GET_STATE, is not in normal state. */
static int tce_ioctl_eeh(struct tce_container *container, union tce_param *param,
			 void __user *arg)
{
	struct vfio_eeh_pe_op *op = &param->eeh;
	size_t size = offsetofend(typeof(*op), err.mask);
	struct tce_eeh_target *target;
	unsigned int which;
	int ret = 0;

	if (op->op == VFIO_EEH_PE_INJECT_ERR) {
		if (op->argsz < size)
			return -EINVAL;
		if (copy_from_user(&op->err, arg + offsetof(typeof(*op), err),
				   sizeof(op->err)))
			return -EFAULT;
	}
	if (mutex_lock_killable(&container->eeh_lock))
		return -EINTR;
	for (which = 0; !ret; which++) {
		target = tce_eeh_hold(container, which);
		if (IS_ERR_OR_NULL(target)) {
			ret = PTR_ERR_OR_ZERO(target);
			break;
		}
		ret = tce_eeh_op_on(container, target->pe, op);
		tce_eeh_release(target);
	}
	mutex_unlock(&container->eeh_lock);
	return ret;
}

static int __init tce_eeh_init(void)
{
	tce_eeh_wq = alloc_workqueue("vfio_spapr_eeh", WQ_UNBOUND, 0);
	return tce_eeh_wq ? 0 : -ENOMEM;
}

static void tce_eeh_exit(void)
{
	destroy_workqueue(tce_eeh_wq);
}

#else

static int tce_ioctl_eeh(struct tce_container *container, union tce_param *param,
			 void __user *arg)
{
	return -ENODEV;
}

static int __init tce_eeh_init(void)
{
	return 0;
}

static void tce_eeh_exit(void)
{
}

#endif /* CONFIG_EEH */

/* ---- the operations of VFIO's IOMMU driver ---- */

#define TCE_V1		BIT(0)
#define TCE_V2		BIT(1)
#define TCE_OWNED	BIT(2)	/* only where the container has an owner */

/**
 * struct tce_ioctl - one ioctl of a container
 * @fn: the handler
 * @size: bytes that the argument must have at least; 0: there is no argument
 * @flags: the flags that it knows
 * @versions: TCE_V1, TCE_V2, and TCE_OWNED
 */
struct tce_ioctl {
	int (*fn)(struct tce_container *container, union tce_param *param,
		  void __user *arg);
	u16 size;
	u8 versions;
	u32 flags;
};

#define TCE_IOCTL_NR(cmd)	((cmd) - _IO(VFIO_TYPE, VFIO_BASE))

#define TCE_IOCTL(_cmd, _versions, _fn, _size, _flags)			\
	[TCE_IOCTL_NR(_cmd)] = {					\
		.fn = _fn,						\
		.size = _size,						\
		.versions = _versions,					\
		.flags = _flags,					\
	}

#define TCE_SIZE(member)	offsetofend(union tce_param, member)

/* All arguments begin with argsz and flags. */
static_assert(offsetof(struct vfio_iommu_spapr_tce_info, flags) == 4);
static_assert(offsetof(struct vfio_iommu_type1_dma_map, flags) == 4);
static_assert(offsetof(struct vfio_iommu_type1_dma_unmap, flags) == 4);
static_assert(offsetof(struct vfio_iommu_spapr_register_memory, flags) == 4);
static_assert(offsetof(struct vfio_iommu_spapr_tce_create, flags) == 4);
static_assert(offsetof(struct vfio_iommu_spapr_tce_remove, flags) == 4);
static_assert(offsetof(struct vfio_eeh_pe_op, flags) == 4);

static const struct tce_ioctl tce_ioctls[] = {
	/* flags is output only, and QEMU does not initialise it */
	TCE_IOCTL(VFIO_IOMMU_SPAPR_TCE_GET_INFO, TCE_V1 | TCE_V2, tce_ioctl_get_info,
		  TCE_SIZE(info.dma32_window_size), ~0U),
	TCE_IOCTL(VFIO_IOMMU_MAP_DMA, TCE_V1 | TCE_V2 | TCE_OWNED, tce_ioctl_map,
		  TCE_SIZE(map.size),
		  VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE),
	TCE_IOCTL(VFIO_IOMMU_UNMAP_DMA, TCE_V1 | TCE_V2 | TCE_OWNED, tce_ioctl_unmap,
		  TCE_SIZE(unmap.size), VFIO_DMA_UNMAP_FLAG_ALL),
	TCE_IOCTL(VFIO_IOMMU_ENABLE, TCE_V1, tce_ioctl_enable, 0, 0),
	TCE_IOCTL(VFIO_IOMMU_DISABLE, TCE_V1, tce_ioctl_disable, 0, 0),
	TCE_IOCTL(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, TCE_V2, tce_ioctl_register,
		  TCE_SIZE(memory.size), 0),
	TCE_IOCTL(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, TCE_V2 | TCE_OWNED,
		  tce_ioctl_unregister, TCE_SIZE(memory.size), 0),
	TCE_IOCTL(VFIO_IOMMU_SPAPR_TCE_CREATE, TCE_V2, tce_ioctl_create,
		  TCE_SIZE(create.start_addr), 0),
	TCE_IOCTL(VFIO_IOMMU_SPAPR_TCE_REMOVE, TCE_V2, tce_ioctl_remove,
		  TCE_SIZE(remove.start_addr), 0),
	TCE_IOCTL(VFIO_EEH_PE_OP, TCE_V1 | TCE_V2, tce_ioctl_eeh, TCE_SIZE(eeh.op), 0),
};

static int tce_check_extension(unsigned long extension)
{
	switch (extension) {
	case VFIO_SPAPR_TCE_IOMMU:
	case VFIO_SPAPR_TCE_v2_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_EEH:
		return eeh_enabled();
	default:
		return 0;
	}
}

static long tce_iommu_ioctl(void *iommu_data, unsigned int cmd, unsigned long arg)
{
	struct tce_container *container = iommu_data;
	unsigned int nr = TCE_IOCTL_NR(cmd);
	const struct tce_ioctl *ioctl;
	struct mm_struct *mm;
	union tce_param param;

	/* Also called without a container */
	if (cmd == VFIO_CHECK_EXTENSION)
		return tce_check_extension(arg);

	if (nr >= ARRAY_SIZE(tce_ioctls))
		return -ENOTTY;
	ioctl = &tce_ioctls[array_index_nospec(nr, ARRAY_SIZE(tce_ioctls))];
	if (!(ioctl->versions & (container->v2 ? TCE_V2 : TCE_V1)))
		return -ENOTTY;
	/* Addresses are those of the owner's mm. */
	mm = READ_ONCE(container->mm);
	if (mm != current->mm && (mm || ioctl->versions & TCE_OWNED))
		return -EPERM;
	if (ioctl->size) {
		if (copy_from_user(&param, (void __user *)arg, ioctl->size))
			return -EFAULT;
		if (param.argsz < ioctl->size || param.flags & ~ioctl->flags)
			return -EINVAL;
	}
	return ioctl->fn(container, &param, (void __user *)arg);
}

static void *tce_iommu_open(unsigned long arg)
{
	struct tce_container *container;

	if (arg != VFIO_SPAPR_TCE_IOMMU && arg != VFIO_SPAPR_TCE_v2_IOMMU)
		return ERR_PTR(-EINVAL);
	container = kzalloc_obj(*container, GFP_KERNEL_ACCOUNT);
	if (!container)
		return ERR_PTR(-ENOMEM);
	mutex_init(&container->lock);
	mutex_init(&container->eeh_lock);
	INIT_LIST_HEAD(&container->groups);
	mutex_init(&container->region_lock);
	container->regions = RB_ROOT;
	container->v2 = arg == VFIO_SPAPR_TCE_v2_IOMMU;
	refcount_set(&container->ref, 1);
	spin_lock(&tce_containers_lock);
	list_add_tail_rcu(&container->next, &tce_containers);
	spin_unlock(&tce_containers_lock);
	return container;
}

/* May a group with @table_group join? */
static int tce_group_check(struct tce_container *container,
			   struct iommu_table_group *table_group)
{
	struct iommu_table_group *other;
	struct tce_group *group;

	lockdep_assert_held(&container->lock);
	if (!table_group)
		return -ENODEV;
	/* v2 creates and removes windows. */
	if (container->v2 && !table_group->max_dynamic_windows_supported)
		return -EINVAL;
	if (!container->v2 && !list_empty(&container->groups))
		return -EBUSY;

	list_for_each_entry(group, &container->groups, next) {
		other = tce_table_group(group);
		/* Groups share tables, so they must be of the same kind of hardware. */
		if (other->ops != table_group->ops || !other->ops->shares_tables)
			return -EPERM;
	}
	return 0;
}

static int tce_iommu_attach_group(void *iommu_data, struct iommu_group *iommu_group,
				  enum vfio_group_type type)
{
	struct iommu_table_group *table_group = iommu_group_get_iommudata(iommu_group);
	struct tce_container *container = iommu_data;
	struct tce_group *group;
	int ret;

	if (type == VFIO_EMULATED_IOMMU)
		return -EINVAL;
	group = kzalloc_obj(*group, GFP_KERNEL_ACCOUNT);
	if (!group)
		return -ENOMEM;
	group->grp = iommu_group;

	mutex_lock(&container->lock);
	ret = tce_group_check(container, table_group) ?:
	      tce_group_set_windows(container, table_group);
	if (ret) {
		kfree(group);
	} else {
		if (list_empty(&container->groups) && !tce_window(container, 0))
			container->def_window_pending = true;
		list_add_tail(&group->next, &container->groups);
	}
	mutex_unlock(&container->lock);
	return ret;
}

/*
 * Mappings of the other groups stay. The last group's detach removes the windows and, in
 * version 1, the charge; VFIO releases the container next.
 */
static void tce_group_detach(struct tce_container *container, struct tce_group *group)
{
	struct iommu_table_group *table_group = tce_table_group(group);
	unsigned int num;

	lockdep_assert_held(&container->lock);
	if (list_is_singular(&container->groups)) {
		container->def_window_pending = false;
		tce_windows_remove(container, ~0U);
		tce_disable(container);
	} else {
		for (num = 0; num < ARRAY_SIZE(container->tables); num++)
			if (tce_window(container, num))
				table_group->ops->unset_window(table_group, num);
	}
	list_del(&group->next);
	kfree(group);
}

static void tce_iommu_detach_group(void *iommu_data, struct iommu_group *iommu_group)
{
	struct tce_container *container = iommu_data;
	struct tce_group *group;

	mutex_lock(&container->lock);
	list_for_each_entry(group, &container->groups, next) {
		if (group->grp == iommu_group) {
			tce_group_detach(container, group);
			break;
		}
	}
	mutex_unlock(&container->lock);
}

/*
 * All groups have been detached, and no call is running. tce_regions_forget() of another
 * container may still use this one.
 */
static void tce_iommu_release(void *iommu_data)
{
	struct tce_container *container = iommu_data;
	unsigned int num;

	WARN_ON(!list_empty(&container->groups) || container->locked_pages);
	for (num = 0; num < ARRAY_SIZE(container->tables); num++)
		WARN_ON(rcu_access_pointer(container->tables[num]));
	tce_regions_release(container);
	tce_container_put(container);
}

static const struct vfio_iommu_driver_ops tce_iommu_driver_ops = {
	.name		= "iommu-vfio-powerpc",
	.owner		= THIS_MODULE,
	.open		= tce_iommu_open,
	.release	= tce_iommu_release,
	.ioctl		= tce_iommu_ioctl,
	.attach_group	= tce_iommu_attach_group,
	.detach_group	= tce_iommu_detach_group,
};

static int __init tce_iommu_init(void)
{
	int ret = tce_eeh_init();

	if (ret)
		return ret;
	ret = vfio_register_iommu_driver(&tce_iommu_driver_ops);
	if (ret)
		tce_eeh_exit();
	return ret;
}

static void __exit tce_iommu_exit(void)
{
	vfio_unregister_iommu_driver(&tce_iommu_driver_ops);
	tce_eeh_exit();
}

module_init(tce_iommu_init);
module_exit(tce_iommu_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO IOMMU driver for sPAPR TCE tables");

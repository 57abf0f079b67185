// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO containers on sPAPR TCE tables (POWER), versions 1 and 2.
 *
 * A container has groups, windows and, in version 2, registered memory:
 *
 *   group    an IOMMU group (PE). All groups of a container see the same windows.
 *   window   a TCE table set into every group: tables[0] (32-bit) and tables[1]. The
 *            container owns it from create to remove.
 *   region   pre-registered memory of the mm (asm/mm_iommu.h), of which the container
 *            owns one registration.
 *
 * Version 1 has one group and the default window, accounts for the whole window when
 * it is enabled, and pins pages as they are mapped. Version 2 maps registered memory only.
 *
 * The *default window* exists from the first attach in the eyes of user space, but is
 * made when it is first used; until then it is pending, and its slot is taken.
 *
 * How an entry is mapped and unmapped is told in asm/iommu_user.h. Nothing here touches
 * an entry otherwise.
 *
 * Locking. container->lock is held
 *
 *   shared     to work inside of windows: map, unmap, GET_INFO, EEH, register and
 *              unregister. Calls on the same entries are ordered by the entries'
 *              lock bits, all others run in parallel.
 *   exclusive  to change which groups and windows there are, and what is accounted:
 *              create, remove, the default window's making, enable, disable, attach,
 *              detach.
 *
 * region_lock protects the tree of regions; not held while memory is pinned: the
 * tree node itself is the claim. VFIO's container keeps release away from ioctls.
 *
 * Order: vfio_container::group_lock, container->lock, region_lock.
 * mmap_lock is taken inside of the first two (pinning, charging, copying), never around.
 *
 * A window goes in this order: revoked, so that nobody (KVM may hold the table, too) can
 * set an entry any more; cleared and invalidated, which drops all that its entries held;
 * taken from the groups; put. In version 1 it is revoked while the container isn't enabled.
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
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <asm/eeh.h>
#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/mm_iommu.h>
#include "vfio.h"

#define CREATE_TRACE_POINTS
#include "vfio_iommu_spapr_tce_trace.h"

/* Entries unmapped between two looks for a fatal signal */
#define TCE_UNMAP_CHUNK		BIT(20)

/* An unmap this large gives the table's empty levels back: it costs as much again. */
#define TCE_RECLAIM_ENTRIES	BIT(17)

/**
 * struct tce_group - a group in a container
 * @next: in container->groups
 * @grp: the group, which VFIO holds while it is attached
 */
struct tce_group {
	struct list_head next;
	struct iommu_group *grp;
};

/**
 * struct tce_region - a registration that a container owns
 * @node: in container->regions
 * @vaddr: as registered
 * @size: as registered
 * @mem: the region; NULL while it is being registered
 */
struct tce_region {
	struct rb_node node;
	u64 vaddr;
	u64 size;
	struct mm_iommu_region *mem;
};

/**
 * struct tce_container - IOMMU data of a VFIO container
 * @lock: see the top of this file
 * @v2: version 2; immutable
 * @enabled: DMA may be mapped. v1: ENABLE has been called (@lock). v2: memory has been
 *	registered; never goes back
 * @def_window_pending: the default window is still to be made (@lock)
 * @locked_pages: charged by ENABLE (@lock)
 * @mm: whose container it is; set once, by the first call that needs it, and held
 * @tables: windows; NULL: none (@lock)
 * @groups: of struct tce_group (@lock)
 * @region_lock: protects @regions and what is in it
 * @regions: of struct tce_region, by address and size
 */
struct tce_container {
	struct rw_semaphore lock;	/* see the top of this file */
	bool v2;
	bool enabled;
	bool def_window_pending;
	unsigned long locked_pages;
	struct mm_struct *mm;
	struct iommu_table *tables[IOMMU_TABLE_GROUP_MAX_TABLES];
	struct list_head groups;
	struct mutex region_lock;	/* regions */
	struct rb_root regions;
};

/* An error of platform code as an ioctl may return it */
static int tce_errno(long ret)
{
	return ret > 0 || ret < -MAX_ERRNO ? -EIO : ret;
}

/* Make the container current's; it can only be one process's. */
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

/*
 * Is it current's? The dispatcher lets a container without owner pass, which may get
 * another one meanwhile: to be asked by calls that don't set the owner themselves.
 */
static bool tce_mm_is_ours(struct tce_container *container)
{
	return READ_ONCE(container->mm) == current->mm;
}

/* ---- registered memory ---- */

static int tce_region_cmp(u64 vaddr, u64 size, const struct tce_region *region)
{
	if (vaddr != region->vaddr)
		return vaddr < region->vaddr ? -1 : 1;
	if (size != region->size)
		return size < region->size ? -1 : 1;
	return 0;
}

static int tce_region_find_cmp(const void *key, const struct rb_node *node)
{
	const struct tce_region *want = key;

	return tce_region_cmp(want->vaddr, want->size,
			      rb_entry(node, struct tce_region, node));
}

static int tce_region_add_cmp(struct rb_node *new, const struct rb_node *node)
{
	return tce_region_find_cmp(rb_entry(new, struct tce_region, node), node);
}

static int tce_region_register(struct tce_container *container, u64 vaddr, u64 size)
{
	struct mm_iommu_region *mem;
	struct tce_region *region;
	struct rb_node *found;
	int ret;

	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return -ENOMEM;
	region->vaddr = vaddr;
	region->size = size;

	/* In the tree first: a second caller with the same range is told at once. */
	mutex_lock(&container->region_lock);
	found = rb_find_add(&region->node, &container->regions, tce_region_add_cmp);
	mutex_unlock(&container->region_lock);
	if (found) {
		kfree(region);
		return -EBUSY;
	}

	ret = mm_iommu_register(container->mm, vaddr, size, &mem);

	mutex_lock(&container->region_lock);
	if (ret) {
		rb_erase(&region->node, &container->regions);
	} else {
		region->mem = mem;
		WRITE_ONCE(container->enabled, true);
	}
	mutex_unlock(&container->region_lock);
	if (ret)
		kfree(region);
	return ret;
}

static int tce_region_unregister(struct tce_container *container, u64 vaddr, u64 size)
{
	struct tce_region want = { .vaddr = vaddr, .size = size }, *region;
	struct rb_node *node;
	int ret = -ENOENT;

	mutex_lock(&container->region_lock);
	node = rb_find(&want, &container->regions, tce_region_find_cmp);
	region = rb_entry_safe(node, struct tce_region, node);
	if (region && region->mem) {
		ret = mm_iommu_unregister(container->mm, region->mem);
		if (!ret) {
			rb_erase(&region->node, &container->regions);
			kfree(region);
		}
	}
	mutex_unlock(&container->region_lock);
	return ret;
}

/* At release: no window, no call. What others still map is left to them. */
static void tce_regions_release(struct tce_container *container)
{
	struct tce_region *region, *next;

	rbtree_postorder_for_each_entry_safe(region, next, &container->regions, node) {
		mm_iommu_abandon(container->mm, region->mem);
		kfree(region);
		cond_resched();
	}
	container->regions = RB_ROOT;
}

/* ---- windows ---- */

static struct iommu_table_group *tce_table_group(struct tce_group *group)
{
	return iommu_group_get_iommudata(group->grp);
}

/* Any group will do where they have been found compatible; NULL if there is none. */
static struct iommu_table_group *tce_first_table_group(struct tce_container *container)
{
	struct tce_group *group;

	lockdep_assert_held(&container->lock);
	group = list_first_entry_or_null(&container->groups, struct tce_group, next);
	return group ? tce_table_group(group) : NULL;
}

static bool tce_has_windows_ops(struct iommu_table_group *table_group)
{
	const struct iommu_table_group_ops *ops = table_group->ops;

	return ops && ops->create_table && ops->set_window && ops->unset_window;
}

static u64 tce_window_start(struct iommu_table *tbl)
{
	return (u64)tbl->it_offset << tbl->it_page_shift;
}

static struct iommu_table *tce_window_find(struct tce_container *container, u64 iova)
{
	struct iommu_table *tbl;
	unsigned int num;

	for (num = 0; num < ARRAY_SIZE(container->tables); num++) {
		tbl = container->tables[num];
		if (tbl && (iova >> tbl->it_page_shift) - tbl->it_offset < tbl->it_size)
			return tbl;
	}
	return NULL;
}

/* A slot for a new window. That of the pending default window is taken. */
static int tce_window_slot(struct tce_container *container)
{
	unsigned int num;

	for (num = 0; num < ARRAY_SIZE(container->tables); num++)
		if (!container->tables[num] && (num || !container->def_window_pending))
			return num;
	return -ENOSPC;
}

/* Clear all of @tbl; what the entries held has been dropped when this returns. */
static unsigned long tce_window_clear(struct iommu_table *tbl)
{
	struct iommu_user_gather g __uninitialized;
	unsigned long live;

	iommu_user_begin(&g, tbl);
	live = iommu_user_unmap(&g, tbl->it_offset, tbl->it_size);
	iommu_user_finish(&g);
	return live;
}

/* Take @tbl away from the groups before @end in the list, or from all. */
static void tce_window_unset(struct tce_container *container, unsigned int num,
			     struct iommu_table *tbl, struct tce_group *end)
{
	struct iommu_table_group *table_group;
	struct tce_group *group;

	iommu_user_revoke(tbl);
	tce_window_clear(tbl);
	list_for_each_entry(group, &container->groups, next) {
		if (group == end)
			break;
		table_group = tce_table_group(group);
		table_group->ops->unset_window(table_group, num);
	}
	iommu_tce_table_put(tbl);
}

static int tce_window_create(struct tce_container *container, unsigned int num,
			     u32 page_shift, u64 size, u32 levels)
{
	struct iommu_table_group *table_group;
	struct iommu_table *tbl = NULL;
	struct tce_group *group;
	int ret;

	lockdep_assert_held_write(&container->lock);

	table_group = tce_first_table_group(container);
	if (!table_group)
		return -ENXIO;
	if (!tce_has_windows_ops(table_group))
		return -EPERM;
	if (page_shift >= 64 || !(table_group->pgsizes & BIT_ULL(page_shift)) ||
	    !size || size & (BIT_ULL(page_shift) - 1))
		return -EINVAL;

	/* Charges what it allocates, and undoes all of it on error. */
	ret = tce_errno(table_group->ops->create_table(table_group, num, page_shift,
						       size, levels, container->mm,
						       &tbl));
	if (ret)
		return ret;
	/* Nobody but us knows the table before it is set into a group. */
	tbl->it_pins = !container->v2;
	tbl->it_revoked = tbl->it_pins && !container->enabled;

	list_for_each_entry(group, &container->groups, next) {
		table_group = tce_table_group(group);
		ret = tce_errno(table_group->ops->set_window(table_group, num, tbl));
		if (ret) {
			tce_window_unset(container, num, tbl, group);
			return ret;
		}
	}
	container->tables[num] = tbl;
	return 0;
}

static void tce_window_remove(struct tce_container *container, unsigned int num)
{
	struct iommu_table *tbl = container->tables[num];

	lockdep_assert_held_write(&container->lock);
	trace_vfio_spapr_tce_window_remove(container, tce_window_start(tbl), 0);
	container->tables[num] = NULL;
	tce_window_unset(container, num, tbl, NULL);
}

static void tce_windows_remove(struct tce_container *container)
{
	unsigned int num;

	for (num = 0; num < ARRAY_SIZE(container->tables); num++)
		if (container->tables[num])
			tce_window_remove(container, num);
	container->def_window_pending = false;
}

static int tce_default_window_create(struct tce_container *container)
{
	struct iommu_table_group *table_group = tce_first_table_group(container);
	int ret;

	if (!container->def_window_pending)
		return 0;
	if (!table_group)
		return -ENODEV;
	ret = tce_window_create(container, 0, IOMMU_PAGE_SHIFT_4K,
				table_group->tce32_size, 1);
	trace_vfio_spapr_tce_window_create(container, table_group->tce32_start,
					   table_group->tce32_size,
					   IOMMU_PAGE_SHIFT_4K, 1, ret);
	if (!ret)
		container->def_window_pending = false;
	return ret;
}

/* Get container->lock shared, with the default window in place. */
static int tce_windows_lock(struct tce_container *container)
{
	int ret;

	if (down_read_killable(&container->lock))
		return -EINTR;
	if (likely(!container->def_window_pending))
		return 0;
	up_read(&container->lock);

	if (down_write_killable(&container->lock))
		return -EINTR;
	ret = tce_default_window_create(container);
	if (ret)
		up_write(&container->lock);
	else
		downgrade_write(&container->lock);
	return ret;
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

	if (down_read_killable(&container->lock))
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
	up_read(&container->lock);

	if (!table_group)
		return -ENXIO;
	return copy_to_user(arg, info, size) ? -EFAULT : 0;
}

/* The entries of [iova, iova + size): all in @tbl, all whole, at least one */
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

static int tce_map(struct tce_container *container,
		   const struct vfio_iommu_type1_dma_map *map,
		   enum dma_data_direction dir)
{
	unsigned long entry, n, done;
	struct iommu_user_gather g __uninitialized;
	struct iommu_table *tbl;
	int ret;

	tbl = tce_window_find(container, map->iova);
	if (!tbl)
		return -ENXIO;
	ret = tce_range(tbl, map->iova, map->size, &entry, &n);
	if (ret)
		return ret;
	if (map->vaddr & (BIT_ULL(tbl->it_page_shift) - 1) ||
	    map->vaddr + map->size < map->vaddr)
		return -EINVAL;

	iommu_user_begin(&g, tbl);
	ret = iommu_user_map(&g, entry, n, map->vaddr, dir, &done);
	/* All or nothing; what was there before is gone all the same. */
	if (ret && done)
		iommu_user_unmap(&g, entry, done);
	iommu_user_finish(&g);
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
	if (!tce_mm_is_ours(container) || !READ_ONCE(container->enabled))
		return -EPERM;
	ret = tce_windows_lock(container);
	if (ret)
		return ret;
	/* v1: not if it has been disabled meanwhile */
	ret = container->enabled ? tce_map(container, map, dir) : -EPERM;
	up_read(&container->lock);
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

	iommu_user_begin(&g, tbl);
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

static int tce_unmap(struct tce_container *container,
		     const struct vfio_iommu_type1_dma_unmap *unmap, u64 *size)
{
	unsigned long entry, n;
	struct iommu_table *tbl;
	unsigned int num;
	int ret = 0;

	if (unmap->flags & VFIO_DMA_UNMAP_FLAG_ALL) {
		if (unmap->iova || unmap->size)
			return -EINVAL;
		for (num = 0; !ret && num < ARRAY_SIZE(container->tables); num++) {
			tbl = container->tables[num];
			if (tbl)
				ret = tce_unmap_entries(tbl, tbl->it_offset,
							tbl->it_size, size);
		}
		return ret;
	}

	tbl = tce_window_find(container, unmap->iova);
	if (!tbl)
		return -ENXIO;
	ret = tce_range(tbl, unmap->iova, unmap->size, &entry, &n);
	return ret ?: tce_unmap_entries(tbl, entry, n, size);
}

static int tce_ioctl_unmap(struct tce_container *container, union tce_param *param,
			   void __user *arg)
{
	struct vfio_iommu_type1_dma_unmap *unmap = &param->unmap;
	u64 __user *out = arg + offsetof(typeof(*unmap), size);
	u64 size = 0;
	int ret;

	if (!tce_mm_is_ours(container) || !READ_ONCE(container->enabled))
		return -EPERM;
	ret = tce_windows_lock(container);
	if (ret)
		return ret;
	ret = tce_unmap(container, unmap, &size);
	up_read(&container->lock);
	trace_vfio_spapr_tce_unmap(container, unmap->iova, unmap->size, unmap->flags,
				   size, ret);
	/* Mostly all of it was mapped, and size says so already. */
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
	if (down_read_killable(&container->lock))
		return -EINTR;
	ret = tce_region_register(container, memory->vaddr, memory->size);
	up_read(&container->lock);
	trace_vfio_spapr_tce_register(container, memory->vaddr, memory->size, ret);
	return ret;
}

static int tce_ioctl_unregister(struct tce_container *container, union tce_param *param,
				void __user *arg)
{
	struct vfio_iommu_spapr_register_memory *memory = &param->memory;
	int ret;

	if (!tce_mm_is_ours(container))
		return -EPERM;
	if ((memory->vaddr | memory->size) & ~PAGE_MASK)
		return -EINVAL;
	if (down_read_killable(&container->lock))
		return -EINTR;
	ret = tce_region_unregister(container, memory->vaddr, memory->size);
	up_read(&container->lock);
	trace_vfio_spapr_tce_unregister(container, memory->vaddr, memory->size, ret);
	return ret;
}

static int tce_ioctl_enable(struct tce_container *container, union tce_param *param,
			    void __user *arg)
{
	struct iommu_table_group *table_group;
	unsigned long pages;
	unsigned int num;
	int ret;

	if (down_write_killable(&container->lock))
		return -EINTR;
	table_group = tce_first_table_group(container);
	if (container->enabled)
		ret = -EBUSY;
	else if (!table_group)
		ret = -ENODEV;
	else if (!table_group->tce32_size)
		ret = -EPERM;
	else
		ret = tce_mm_set(container);
	if (ret)
		goto unlock;

	/*
	 * What may be mapped is charged now, the whole window: charging page by page
	 * would cost more than mapping, and a guest's H_PUT_TCE has no good way to fail.
	 */
	pages = table_group->tce32_size >> PAGE_SHIFT;
	ret = account_locked_vm(container->mm, pages, true);
	if (!ret) {
		container->locked_pages = pages;
		WRITE_ONCE(container->enabled, true);
		/* Those that tce_disable() has left, but for their entries */
		for (num = 0; num < ARRAY_SIZE(container->tables); num++)
			if (container->tables[num])
				WRITE_ONCE(container->tables[num]->it_revoked, false);
	}
unlock:
	up_write(&container->lock);
	return ret;
}

/* v1: nothing stays mapped, or can be mapped by KVM, that is not accounted for. */
static void tce_disable(struct tce_container *container)
{
	struct iommu_table *tbl;
	unsigned int num;

	if (!container->locked_pages)
		return;
	WRITE_ONCE(container->enabled, false);
	for (num = 0; num < ARRAY_SIZE(container->tables); num++) {
		tbl = container->tables[num];
		if (!tbl)
			continue;
		iommu_user_revoke(tbl);
		tce_window_clear(tbl);
	}
	account_locked_vm(container->mm, container->locked_pages, false);
	container->locked_pages = 0;
}

static int tce_ioctl_disable(struct tce_container *container, union tce_param *param,
			     void __user *arg)
{
	if (down_write_killable(&container->lock))
		return -EINTR;
	if (tce_mm_is_ours(container))
		tce_disable(container);
	up_write(&container->lock);
	return 0;
}

static int tce_ioctl_create(struct tce_container *container, union tce_param *param,
			    void __user *arg)
{
	struct vfio_iommu_spapr_tce_create *create = &param->create;
	u64 __user *out = arg + offsetof(typeof(*create), start_addr);
	int ret = tce_mm_set(container), num;
	u64 start = 0;

	if (ret)
		return ret;
	if (down_write_killable(&container->lock))
		return -EINTR;
	num = tce_window_slot(container);
	ret = num < 0 ? num : tce_window_create(container, num, create->page_shift,
						create->window_size, create->levels);
	if (!ret) {
		start = tce_window_start(container->tables[num]);
		trace_vfio_spapr_tce_window_create(container, start,
						   create->window_size,
						   create->page_shift,
						   create->levels, 0);
		/* A window whose start nobody knows is of no use. */
		if (put_user(start, out)) {
			tce_window_remove(container, num);
			ret = -EFAULT;
		}
	} else {
		trace_vfio_spapr_tce_window_create(container, 0, create->window_size,
						   create->page_shift,
						   create->levels, ret);
	}
	up_write(&container->lock);
	return ret;
}

static int tce_ioctl_remove(struct tce_container *container, union tce_param *param,
			    void __user *arg)
{
	u64 start = param->remove.start_addr;
	struct iommu_table_group *table_group;
	struct iommu_table *tbl;
	int ret = tce_mm_set(container);
	unsigned int num;

	if (ret)
		return ret;
	if (down_write_killable(&container->lock))
		return -EINTR;
	table_group = tce_first_table_group(container);
	if (!table_group) {
		ret = -ENXIO;
	} else if (container->def_window_pending && start == table_group->tce32_start) {
		container->def_window_pending = false;
		trace_vfio_spapr_tce_window_remove(container, start, 0);
	} else {
		ret = -EINVAL;
		for (num = 0; ret && num < ARRAY_SIZE(container->tables); num++) {
			tbl = container->tables[num];
			if (!tbl || tce_window_start(tbl) != start)
				continue;
			tce_window_remove(container, num);
			ret = 0;
		}
	}
	up_write(&container->lock);
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
		/* The one call whose answer is its return value: VFIO_EEH_PE_STATE_* */
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

/* Every group in turn, until one fails or, for GET_STATE, is not in normal state. */
static int tce_ioctl_eeh(struct tce_container *container, union tce_param *param,
			 void __user *arg)
{
	struct vfio_eeh_pe_op *op = &param->eeh;
	size_t size = offsetofend(typeof(*op), err.mask);
	struct tce_group *group;
	struct eeh_pe *pe;
	int ret = 0;

	if (op->op == VFIO_EEH_PE_INJECT_ERR) {
		if (op->argsz < size)
			return -EINVAL;
		if (copy_from_user(&op->err, arg + offsetof(typeof(*op), err),
				   sizeof(op->err)))
			return -EFAULT;
	}
	if (down_read_killable(&container->lock))
		return -EINTR;
	list_for_each_entry(group, &container->groups, next) {
		pe = eeh_iommu_group_to_pe(group->grp);
		ret = pe ? tce_eeh_op(pe, op) : -ENODEV;
		if (ret)
			break;
	}
	up_read(&container->lock);
	return ret;
}

#else

static int tce_ioctl_eeh(struct tce_container *container, union tce_param *param,
			 void __user *arg)
{
	return -ENODEV;
}

#endif /* CONFIG_EEH */

/* ---- the container, as VFIO sees it ---- */

#define TCE_V1		BIT(0)
#define TCE_V2		BIT(1)

/**
 * struct tce_ioctl - one ioctl of a container
 * @fn: what does it
 * @size: of the part of the argument that must be there; 0: it has none
 * @flags: those it knows
 * @versions: TCE_V1, TCE_V2
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

/* All arguments start alike. */
static_assert(offsetof(struct vfio_iommu_spapr_tce_info, flags) == 4);
static_assert(offsetof(struct vfio_iommu_type1_dma_map, flags) == 4);
static_assert(offsetof(struct vfio_iommu_type1_dma_unmap, flags) == 4);
static_assert(offsetof(struct vfio_iommu_spapr_register_memory, flags) == 4);
static_assert(offsetof(struct vfio_iommu_spapr_tce_create, flags) == 4);
static_assert(offsetof(struct vfio_iommu_spapr_tce_remove, flags) == 4);
static_assert(offsetof(struct vfio_eeh_pe_op, flags) == 4);

static const struct tce_ioctl tce_ioctls[] = {
	/* flags is an answer there, and QEMU leaves in it what it finds */
	TCE_IOCTL(VFIO_IOMMU_SPAPR_TCE_GET_INFO, TCE_V1 | TCE_V2, tce_ioctl_get_info,
		  TCE_SIZE(info.dma32_window_size), ~0U),
	TCE_IOCTL(VFIO_IOMMU_MAP_DMA, TCE_V1 | TCE_V2, tce_ioctl_map,
		  TCE_SIZE(map.size),
		  VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE),
	TCE_IOCTL(VFIO_IOMMU_UNMAP_DMA, TCE_V1 | TCE_V2, tce_ioctl_unmap,
		  TCE_SIZE(unmap.size), VFIO_DMA_UNMAP_FLAG_ALL),
	TCE_IOCTL(VFIO_IOMMU_ENABLE, TCE_V1, tce_ioctl_enable, 0, 0),
	TCE_IOCTL(VFIO_IOMMU_DISABLE, TCE_V1, tce_ioctl_disable, 0, 0),
	TCE_IOCTL(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, TCE_V2, tce_ioctl_register,
		  TCE_SIZE(memory.size), 0),
	TCE_IOCTL(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, TCE_V2, tce_ioctl_unregister,
		  TCE_SIZE(memory.size), 0),
	TCE_IOCTL(VFIO_IOMMU_SPAPR_TCE_CREATE, TCE_V2, tce_ioctl_create,
		  TCE_SIZE(create.start_addr), 0),
	TCE_IOCTL(VFIO_IOMMU_SPAPR_TCE_REMOVE, TCE_V2, tce_ioctl_remove,
		  TCE_SIZE(remove.start_addr), 0),
	TCE_IOCTL(VFIO_EEH_PE_OP, TCE_V1 | TCE_V2, tce_ioctl_eeh, TCE_SIZE(eeh.op), 0),
};

static long tce_iommu_ioctl(void *iommu_data, unsigned int cmd, unsigned long arg)
{
	struct tce_container *container = iommu_data;
	unsigned int nr = TCE_IOCTL_NR(cmd);
	const struct tce_ioctl *ioctl;
	union tce_param param;

	/* Asked without a container, too */
	if (cmd == VFIO_CHECK_EXTENSION) {
		switch (arg) {
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

	if (nr >= ARRAY_SIZE(tce_ioctls))
		return -ENOTTY;
	ioctl = &tce_ioctls[array_index_nospec(nr, ARRAY_SIZE(tce_ioctls))];
	if (!(ioctl->versions & (container->v2 ? TCE_V2 : TCE_V1)))
		return -ENOTTY;
	/* Addresses mean something in one mm only. */
	if (READ_ONCE(container->mm) && container->mm != current->mm)
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
	container = kzalloc(sizeof(*container), GFP_KERNEL_ACCOUNT);
	if (!container)
		return ERR_PTR(-ENOMEM);
	init_rwsem(&container->lock);
	INIT_LIST_HEAD(&container->groups);
	mutex_init(&container->region_lock);
	container->regions = RB_ROOT;
	container->v2 = arg == VFIO_SPAPR_TCE_v2_IOMMU;
	return container;
}

/* Can a group with @table_group join? */
static int tce_group_check(struct tce_container *container,
			   struct iommu_group *iommu_group,
			   struct iommu_table_group *table_group)
{
	struct iommu_table_group *other;
	struct tce_group *group;

	if (!table_group)
		return -ENODEV;
	/* v2 is about windows, and they come and go. */
	if (container->v2 && !table_group->max_dynamic_windows_supported)
		return -EINVAL;
	if (!container->v2 && !list_empty(&container->groups))
		return -EBUSY;

	list_for_each_entry(group, &container->groups, next) {
		if (group->grp == iommu_group)
			return -EBUSY;
		other = tce_table_group(group);
		/* Tables of one kind of hardware are of no use to another. */
		if (!other->ops || !table_group->ops ||
		    other->ops->create_table != table_group->ops->create_table)
			return -EPERM;
	}
	return 0;
}

/* Set all windows into a group that joins; on error none is. */
static int tce_group_set_windows(struct tce_container *container,
				 struct iommu_table_group *table_group)
{
	struct iommu_table *tbl;
	int num, ret = 0;

	for (num = 0; num < ARRAY_SIZE(container->tables); num++) {
		tbl = container->tables[num];
		if (!tbl)
			continue;
		ret = iommu_tce_table_check_mm(tbl, container->mm) ?:
		      tce_errno(table_group->ops->set_window(table_group, num, tbl));
		if (ret)
			break;
	}
	while (ret && num--)
		if (container->tables[num])
			table_group->ops->unset_window(table_group, num);
	return ret;
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
	group = kzalloc(sizeof(*group), GFP_KERNEL_ACCOUNT);
	if (!group)
		return -ENOMEM;
	group->grp = iommu_group;

	down_write(&container->lock);
	ret = tce_group_check(container, iommu_group, table_group) ?:
	      tce_group_set_windows(container, table_group);
	if (ret) {
		kfree(group);
	} else {
		if (list_empty(&container->groups) && !container->tables[0])
			container->def_window_pending = true;
		list_add_tail(&group->next, &container->groups);
	}
	up_write(&container->lock);
	return ret;
}

/* The others' mappings stay; the last group takes the windows along. */
static void tce_group_detach(struct tce_container *container, struct tce_group *group)
{
	struct iommu_table_group *table_group = tce_table_group(group);
	unsigned int num;

	lockdep_assert_held_write(&container->lock);
	if (list_is_singular(&container->groups)) {
		tce_windows_remove(container);
	} else {
		for (num = 0; num < ARRAY_SIZE(container->tables); num++)
			if (container->tables[num])
				table_group->ops->unset_window(table_group, num);
	}
	list_del(&group->next);
	kfree(group);
}

static void tce_iommu_detach_group(void *iommu_data, struct iommu_group *iommu_group)
{
	struct tce_container *container = iommu_data;
	struct tce_group *group;

	down_write(&container->lock);
	list_for_each_entry(group, &container->groups, next) {
		if (group->grp == iommu_group) {
			tce_group_detach(container, group);
			break;
		}
	}
	up_write(&container->lock);
}

static void tce_iommu_release(void *iommu_data)
{
	struct tce_container *container = iommu_data;
	struct tce_group *group, *next;

	down_write(&container->lock);
	list_for_each_entry_safe(group, next, &container->groups, next)
		tce_group_detach(container, group);
	tce_disable(container);
	up_write(&container->lock);

	tce_regions_release(container);
	if (container->mm)
		mmdrop(container->mm);
	mutex_destroy(&container->region_lock);
	kfree(container);
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
	return vfio_register_iommu_driver(&tce_iommu_driver_ops);
}

static void __exit tce_iommu_exit(void)
{
	vfio_unregister_iommu_driver(&tce_iommu_driver_ops);
}

module_init(tce_iommu_init);
module_exit(tce_iommu_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO IOMMU driver for sPAPR TCE tables");

// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DMA windows of user space on pSeries: the owner of a group, its windows, and their TCEs.
 *
 * The hypervisor holds the TCEs, a hypercall away. The host holds the view words, which say
 * what each TCE is, in a sparse tree (asm/iommu_levels.h). The hypervisor does not see that
 * tree, so a user may ask for any number of levels.
 *
 * The hypervisor offers a PE
 *
 *   the default window   below 4 GiB, 4K pages. It exists from the start, and is cleared
 *                        when a user takes the group.
 *   dynamic windows      as many as the query reports, each created and removed by RTAS.
 *
 * A user's window 0 is the default one if the request fits it. Otherwise the default
 * window is removed and a dynamic one takes its place: so the first window starts at 0
 * and the second, number 1, elsewhere, as on PowerNV. Only a reset restores the default
 * window, and it removes all others: so it is done after the last of them has been removed.
 *
 * A user's windows are neither in the device tree nor on the host's list of windows, and the
 * default one stays in the tree: a kernel started by kexec finds the default window only, as
 * after a reboot, whenever it was loaded. Before it starts, the other windows are removed.
 *
 * Locks: dma_win_init_mutex for all changes of windows, taken inside VFIO's and the IOMMU
 * core's locks. A table's last put may take it.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/kexec.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <asm/firmware.h>
#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/pci-bridge.h>
#include <asm/plpar_wrappers.h>
#include <asm/ppc-pci.h>
#include <asm/prom.h>
#include <asm/tce.h>
#include "iommu_user_window.h"

#define DEFAULT_WINDOW		"ibm,dma-window"
#define DEFAULT_WINDOW_SAVED	"ibm,dma-window-saved"

/* TCEs of one hypercall: a list of 4K */
#define TCES_PER_HCALL		512UL

/* As many as anywhere */
#define MAX_LEVELS		5

/**
 * struct user_window - a user's window
 * @tbl: its table; first, for the table's end frees both
 * @next: in user_windows while it is open
 * @group: whose window it is
 * @pdn: node of the PE; held
 * @open: the hypervisor's window is ours
 * @dynamic: it was made for us; else it is the default window
 * @tokens: of RTAS, if it is dynamic
 */
struct user_window {
	struct iommu_table tbl;
	struct list_head next;
	struct iommu_table_group *group;
	struct device_node *pdn;
	bool open;
	bool dynamic;
	u32 tokens[DDW_APPLICABLE_SIZE];
};

struct default_window {
	unsigned long liobn;
	unsigned long start;
	unsigned long size;
};

/* All open windows; dma_win_init_mutex */
static LIST_HEAD(user_windows);

/* The next kernel is about to start: no window may be created. */
static bool windows_closing;

static struct user_window *to_window(struct iommu_table *tbl)
{
	return container_of(tbl, struct user_window, tbl);
}

static u64 window_size(const struct user_window *w)
{
	return (u64)w->tbl.it_size << w->tbl.it_page_shift;
}

/* ---- TCEs ---- */

/* A page per CPU for the list of a hypercall, allocated before the first table. */
static DEFINE_PER_CPU(__be64 *, user_tce_list);

static int tce_lists_alloc(void)
{
	__be64 **list;
	int cpu;

	lockdep_assert_held(&dma_win_init_mutex);
	for_each_possible_cpu(cpu) {
		list = per_cpu_ptr(&user_tce_list, cpu);
		if (*list)
			continue;
		*list = kmalloc_node(TCES_PER_HCALL * sizeof(__be64), GFP_KERNEL,
				     cpu_to_node(cpu));
		if (!*list)
			return -ENOMEM;
	}
	return 0;
}

static int tce_errno(long rc)
{
	switch (rc) {
	case H_SUCCESS:
		return 0;
	case H_PARAMETER:
		return -EINVAL;
	case H_NOT_ENOUGH_RESOURCES:
		return -ENOMEM;
	case H_BUSY:
		return -EAGAIN;
	default:
		return H_IS_LONG_BUSY(rc) ? -EAGAIN : -EIO;
	}
}

typedef void (*tce_fill_t)(void *arg, __be64 *list, unsigned long n);

static long tce_put_list(struct iommu_table *tbl, unsigned long ioba, unsigned long n,
			 tce_fill_t fill, void *arg)
{
	unsigned long flags;
	__be64 *list;
	long rc;

	local_irq_save(flags);	/* the list is this CPU's until the hypervisor has read it */
	list = __this_cpu_read(user_tce_list);
	fill(arg, list, n);
	rc = plpar_tce_put_indirect(tbl->it_index, ioba, __pa(list), n);
	local_irq_restore(flags);
	return rc;
}

/* One hypercall, see struct iommu_table_ops */
static int user_tce_set(struct iommu_table *tbl, unsigned long index, unsigned long n,
			tce_fill_t fill, void *arg)
{
	unsigned long ioba = index << tbl->it_page_shift;
	__be64 tce = 0;

	if (n == 1) {
		if (fill)
			fill(arg, &tce, 1);
		return tce_errno(plpar_tce_put(tbl->it_index, ioba, be64_to_cpu(tce)));
	}
	if (fill)
		return tce_errno(tce_put_list(tbl, ioba, n, fill, arg));
	return tce_errno(plpar_tce_stuff(tbl->it_index, ioba, 0, n));
}

/* Clear entries without view words. */
static int tces_clear(unsigned long liobn, unsigned long ioba, unsigned long n,
		      unsigned int shift)
{
	unsigned long k;
	int ret;

	while (n) {
		k = firmware_has_feature(FW_FEATURE_STUFF_TCE) ? min(n, TCES_PER_HCALL) : 1;
		if (k > 1)
			ret = tce_errno(plpar_tce_stuff(liobn, ioba, 0, k));
		else
			ret = tce_errno(plpar_tce_put(liobn, ioba, 0));
		if (ret == -EAGAIN) {
			fsleep(1000);
			continue;
		}
		if (ret)
			return ret;
		n -= k;
		ioba += k << shift;
		cond_resched();
	}
	return 0;
}

static void user_window_free(struct iommu_table *tbl);

static struct iommu_table_ops user_table_ops = {
	.set_user = user_tce_set,
	.set_user_max = TCES_PER_HCALL,
	.free = user_window_free,
};

/* For a hypervisor without hypercalls for several TCEs */
static struct iommu_table_ops user_table_single_ops = {
	.set_user = user_tce_set,
	.set_user_max = 1,
	.free = user_window_free,
};

static struct iommu_table_ops *user_table_ops_choose(void)
{
	return firmware_has_feature(FW_FEATURE_PUT_TCE_IND) &&
	       firmware_has_feature(FW_FEATURE_STUFF_TCE) ? &user_table_ops :
							    &user_table_single_ops;
}

/* A window that was removed has no entries to be cleared. */
static int gone_tce_set(struct iommu_table *tbl, unsigned long index, unsigned long n,
			tce_fill_t fill, void *arg)
{
	return fill ? -ENODEV : 0;
}

static struct iommu_table_ops gone_table_ops = {
	.set_user = gone_tce_set,
	.set_user_max = TCES_PER_HCALL,
	.free = user_window_free,
};

static bool table_is_ours(struct iommu_table *tbl)
{
	return tbl->it_ops == &user_table_ops || tbl->it_ops == &user_table_single_ops;
}

static bool table_is_clear(struct iommu_table *tbl)
{
	struct iommu_span span;
	unsigned long idx, i;
	bool clear = true;

	for (idx = 0; clear && idx < tbl->it_size; idx += span.nr) {
		rcu_read_lock();
		iommu_levels_walk(tbl, idx, &span);
		for (i = 0; span.view && i < span.nr; i++)
			clear &= !(READ_ONCE(span.view[i]) & IOMMU_VIEW_LIVE);
		rcu_read_unlock();
		cond_resched();
	}
	return clear;
}

/*
 * The caller that closes a window has cleared it. If the hypervisor refused to clear an entry,
 * the entry still holds a reference or pin: drop it, now that the window is gone or empty.
 */
static void table_forget(struct iommu_table *tbl)
{
	struct iommu_user_gather g;

	if (!IS_ENABLED(CONFIG_SPAPR_TCE_IOMMU))
		return;
	tbl->it_ops = &gone_table_ops;
	iommu_user_begin(&g, tbl, false);
	iommu_user_unmap(&g, tbl->it_offset, tbl->it_size);
	iommu_user_finish(&g);
}

/* ---- the default window ---- */

/* The property stays while the window is replaced. */
static bool default_window_find(struct iommu_table_group *table_group,
				struct device_node *pdn, struct default_window *d)
{
	const __be32 *prop = of_get_property(pdn, DEFAULT_WINDOW, NULL);

	lockdep_assert_held(&dma_win_init_mutex);
	if (!prop || table_group->default_replaced)
		return false;
	of_parse_dma_window(pdn, prop, &d->liobn, &d->start, &d->size);
	return true;
}

/* The host's driver that removed the window has kept a copy of its property. */
static void default_property_restore(struct device_node *pdn)
{
	struct property *src = of_find_property(pdn, DEFAULT_WINDOW_SAVED, NULL), *dst;

	if (!src || of_find_property(pdn, DEFAULT_WINDOW, NULL))
		return;
	dst = kzalloc_obj(*dst);
	if (!dst)
		return;
	dst->name = kstrdup(DEFAULT_WINDOW, GFP_KERNEL);
	dst->value = kmemdup(src->value, src->length, GFP_KERNEL);
	dst->length = src->length;
	if (dst->name && dst->value && !of_add_property(pdn, dst))
		return;
	kfree(dst->name);
	kfree(dst->value);
	kfree(dst);
}

static bool default_window_comes_back(struct device_node *pdn)
{
	u32 token;

	return !of_property_read_u32_index(pdn, "ibm,ddw-extensions",
					   DDW_EXT_RESET_DMA_WIN, &token);
}

/* Remove all windows but the default one, and restore that. */
static int windows_reset(struct iommu_table_group *table_group, struct pci_dev *pdev,
			 struct device_node *pdn)
{
	lockdep_assert_held(&dma_win_init_mutex);
	if (reset_dma_window(pdev, pdn))
		return -EIO;
	table_group->default_replaced = false;
	default_property_restore(pdn);
	return 0;
}

/* If it fails, default_window_find() finds none. */
static void default_window_restore(struct iommu_table_group *table_group, struct pci_dev *pdev,
				   struct device_node *pdn)
{
	struct default_window d;

	if (!default_window_find(table_group, pdn, &d))
		windows_reset(table_group, pdev, pdn);
}

/* ---- windows ---- */

static bool user_has_windows(struct device_node *pdn)
{
	struct user_window *w;

	lockdep_assert_held(&dma_win_init_mutex);
	list_for_each_entry(w, &user_windows, next)
		if (w->pdn == pdn)
			return true;
	return false;
}

/* QEMU's hypervisor may create a window that overlaps another. */
static bool window_overlaps(struct user_window *new, u64 start)
{
	struct user_window *w;
	u64 at;

	list_for_each_entry(w, &user_windows, next) {
		at = (u64)w->tbl.it_offset << w->tbl.it_page_shift;
		if (w->pdn == new->pdn && start < at + window_size(w) &&
		    at < start + window_size(new))
			return true;
	}
	return false;
}

static void window_opened(struct user_window *w, unsigned long liobn, u64 start)
{
	w->tbl.it_index = liobn;
	w->tbl.it_offset = start >> w->tbl.it_page_shift;
	w->open = true;
	list_add(&w->next, &user_windows);
}

/* The hypervisor may refuse a window that it offered, but only temporarily. */
static int window_create(struct user_window *w, struct pci_dev *pdev)
{
	struct ddw_create_response create;
	struct ddw_query_response query;
	u64 start;

	if (query_ddw(pdev, w->tokens, &query, w->pdn))
		return -ENODEV;
	if (!query.windows_available)
		return -ENOSPC;
	if (w->tbl.it_size > query.largest_available_block ||
	    create_ddw(pdev, w->tokens, &create, w->tbl.it_page_shift,
		       w->tbl.it_page_shift + ilog2(w->tbl.it_size)))
		return -EINVAL;

	start = (u64)create.addr_hi << 32 | create.addr_lo;
	if (window_overlaps(w, start)) {
		__remove_dma_window(w->pdn, w->tokens, create.liobn);
		return -ENOSPC;
	}
	w->dynamic = true;
	window_opened(w, create.liobn, start);
	return 0;
}

/* @d: the default window, if this one takes its place */
static int window_open_dynamic(struct user_window *w, struct pci_dev *pdev,
			       const struct default_window *d)
{
	int ret;

	if (of_property_read_u32_array(w->pdn, "ibm,ddw-applicable", w->tokens,
				       DDW_APPLICABLE_SIZE))
		return -ENODEV;
	if (d && default_window_comes_back(w->pdn)) {
		if (__remove_dma_window(w->pdn, w->tokens, d->liobn))
			return -EIO;
		w->group->default_replaced = true;
	}
	ret = window_create(w, pdev);
	if (ret && !user_has_windows(w->pdn))
		default_window_restore(w->group, pdev, w->pdn);
	return ret;
}

/* The start of window @num */
static int window_open(struct user_window *w, struct pci_dev *pdev, int num)
{
	bool others = user_has_windows(w->pdn);
	struct default_window d;

	lockdep_assert_held(&dma_win_init_mutex);
	if (!others)
		default_window_restore(w->group, pdev, w->pdn);
	if (num || !default_window_find(w->group, w->pdn, &d))
		return window_open_dynamic(w, pdev, NULL);
	if (w->tbl.it_page_shift == IOMMU_PAGE_SHIFT_4K && window_size(w) <= d.size) {
		window_opened(w, d.liobn, d.start);
		return 0;
	}
	return window_open_dynamic(w, pdev, others ? NULL : &d);
}

/* Clear all its TCEs, whatever the view words say. */
static int window_empty(struct user_window *w)
{
	struct iommu_table *tbl = &w->tbl;

	return tces_clear(tbl->it_index, tbl->it_offset << tbl->it_page_shift, tbl->it_size,
			  tbl->it_page_shift);
}

static void window_close(struct user_window *w)
{
	struct iommu_table *tbl = &w->tbl;
	bool gone;

	lockdep_assert_held(&dma_win_init_mutex);
	if (!w->open)
		return;
	w->open = false;
	list_del(&w->next);
	gone = w->dynamic && !__remove_dma_window(w->pdn, w->tokens, tbl->it_index);
	if (table_is_clear(tbl))
		return;
	if (gone || !window_empty(w))
		table_forget(tbl);
}

/* Free a table. Its window is still open if it was never set in the group. */
static void user_window_free(struct iommu_table *tbl)
{
	struct user_window *w = to_window(tbl);

	if (w->open) {
		mutex_lock(&dma_win_init_mutex);
		window_close(w);
		mutex_unlock(&dma_win_init_mutex);
	}
	of_node_put(w->pdn);
	iommu_levels_destroy(tbl);
}

/* ---- a group's windows, for its user ---- */

/* Number of levels, and their size in @shift. The arguments come from user space, unchecked. */
static int view_shape(u32 page_shift, u64 window_size, u32 levels, unsigned int *shift)
{
	unsigned int bits;

	if (levels > MAX_LEVELS || page_shift >= BITS_PER_LONG ||
	    !is_power_of_2(window_size) || window_size < BIT(page_shift))
		return -EINVAL;

	bits = ilog2(window_size) - page_shift;
	return iommu_levels_shape(bits, DIV_ROUND_UP(bits, PAGE_SHIFT - 3),
				  BITS_PER_LONG - page_shift, false, shift);
}

static int first_pci_dev(struct device *dev, void *data)
{
	struct pci_dev **pdev = data;

	if (!dev_is_pci(dev))
		return 0;
	*pdev = pci_dev_get(to_pci_dev(dev));
	return 1;
}

/* Any device of the group, as RTAS needs one; referenced; NULL if none is left */
static struct pci_dev *group_pci_dev(struct iommu_table_group *table_group)
{
	struct pci_dev *pdev = NULL;

	if (table_group->group)
		iommu_group_for_each_dev(table_group->group, &pdev, first_pci_dev);
	return pdev;
}

static long user_create_table(struct iommu_table_group *table_group, int num, __u32 page_shift,
			      __u64 window_size, __u32 levels, struct mm_struct *mm,
			      struct iommu_table **ptbl)
{
	struct user_window *w;
	struct pci_dev *pdev;
	unsigned int shift;
	int ret, n;

	n = view_shape(page_shift, window_size, levels, &shift);
	if (n < 0)
		return n;
	if (!(table_group->pgsizes & BIT(page_shift)))
		return -EINVAL;

	pdev = group_pci_dev(table_group);
	if (!pdev)
		return -ENODEV;
	ret = -ENOMEM;
	w = kzalloc_obj(*w, GFP_KERNEL_ACCOUNT);
	if (!w)
		goto put_dev;

	w->group = table_group;
	w->pdn = of_node_get(pci_dma_find(pci_device_to_OF_node(pdev), NULL));
	INIT_LIST_HEAD_RCU(&w->tbl.it_group_list);
	kref_init(&w->tbl.it_kref);
	iommu_table_setparms_common(&w->tbl, pdev->bus->number, 0, 0, window_size, page_shift,
				    NULL, user_table_ops_choose());

	/* Allocate the view words first: if that fails, no hypercall has to be undone. */
	ret = iommu_levels_init(&w->tbl, dev_to_node(&pdev->dev), n, shift, false, mm);
	if (!ret) {
		mutex_lock(&dma_win_init_mutex);
		ret = w->pdn && !windows_closing ? tce_lists_alloc() : -ENODEV;
		if (!ret)
			ret = window_open(w, pdev, num);
		mutex_unlock(&dma_win_init_mutex);
	}
	if (ret)
		iommu_tce_table_put(&w->tbl);
	else
		*ptbl = &w->tbl;
put_dev:
	pci_dev_put(pdev);
	return ret;
}

/* A window belongs to one group: it cannot be set in another. */
static long user_set_window(struct iommu_table_group *table_group, int num,
			    struct iommu_table *tbl)
{
	long ret = 0;

	if (!table_is_ours(tbl) || to_window(tbl)->group != table_group)
		return -EPERM;
	mutex_lock(&dma_win_init_mutex);
	if (table_group->tables[num])
		ret = -EBUSY;
	else	/* index-node: iommu_group_table_get() finds what has been set before. */
		smp_store_release(&table_group->tables[num], iommu_tce_table_get(tbl));
	mutex_unlock(&dma_win_init_mutex);
	return ret;
}

static long user_unset_window(struct iommu_table_group *table_group, int num)
{
	struct iommu_table *tbl;

	mutex_lock(&dma_win_init_mutex);
	tbl = table_group->tables[num];
	if (tbl && table_is_ours(tbl)) {
		WRITE_ONCE(table_group->tables[num], NULL);
		window_close(to_window(tbl));
	} else {
		tbl = NULL;
	}
	mutex_unlock(&dma_win_init_mutex);
	if (tbl)
		iommu_tce_table_put(tbl);
	return 0;
}

/* ---- a group's owner ---- */

static bool host_has_dynamic_window(struct device_node *pdn)
{
	return of_find_property(pdn, DIRECT64_PROPNAME, NULL) ||
	       of_find_property(pdn, DMA64_PROPNAME, NULL);
}

static void host_table_put(struct iommu_table_group *table_group, int num)
{
	struct iommu_table *tbl = table_group->tables[num];

	if (!tbl)
		return;
	WRITE_ONCE(table_group->tables[num], NULL);
	iommu_tce_table_put(tbl);
}

/* Clear and remove a dynamic window. An error: it may still lead to memory. */
static int host_window_remove(struct device_node *pdn,
			      const struct dynamic_dma_window_prop *win)
{
	unsigned int shift = be32_to_cpu(win->tce_shift);
	unsigned long liobn = be32_to_cpu(win->liobn);
	u32 tokens[DDW_APPLICABLE_SIZE];
	int ret;

	ret = tces_clear(liobn, be64_to_cpu(win->dma_base),
			 BIT(be32_to_cpu(win->window_shift) - shift), shift);
	if (!of_property_read_u32_array(pdn, "ibm,ddw-applicable", tokens, DDW_APPLICABLE_SIZE) &&
	    !__remove_dma_window(pdn, tokens, liobn))
		return 0;
	return ret;
}

/*
 * Remove the host's dynamic windows, as the device tree has them: after kexec the host's list
 * does not know which of them maps all memory. The reset also removes what no tree tells of:
 * a kernel may have been loaded before the one that ran then made a window.
 */
static int host_windows_remove(struct iommu_table_group *table_group, struct pci_dev *pdev,
			       struct device_node *pdn)
{
	static const char *const names[] = { DIRECT64_PROPNAME, DMA64_PROPNAME };
	const struct dynamic_dma_window_prop *win;
	struct property *prop;
	int i, num, ret = 0;

	/* Memory that comes online is not mapped any more. */
	dma_win_forget(pdn, false);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		prop = of_find_property(pdn, names[i], NULL);
		if (prop && prop->length >= sizeof(*win))
			ret = host_window_remove(pdn, prop->value) ?: ret;
	}
	if (windows_reset(table_group, pdev, pdn) && ret)
		return -EIO;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		prop = of_find_property(pdn, names[i], NULL);
		if (!prop)
			continue;
		win = prop->value;
		for (num = 0; num < IOMMU_TABLE_GROUP_MAX_TABLES; num++)
			if (table_group->tables[num] && prop->length >= sizeof(*win) &&
			    table_group->tables[num]->it_index == be32_to_cpu(win->liobn))
				host_table_put(table_group, num);
		of_remove_property(pdn, prop);
	}
	dma_win_forget(pdn, true);
	return 0;
}

/* Remove the host's windows, and clear the default one. */
static int host_windows_take(struct iommu_table_group *table_group, struct pci_dev *pdev,
			     struct device_node *pdn)
{
	struct default_window d;
	int num, ret;

	if (!table_group->tables[0] && !table_group->tables[1] &&
	    !host_has_dynamic_window(pdn))
		return 0;

	ret = host_windows_remove(table_group, pdev, pdn);
	/* A window that was removed may have left entries in the default one. */
	if (!ret && default_window_find(table_group, pdn, &d))
		ret = tces_clear(d.liobn, d.start, d.size >> IOMMU_PAGE_SHIFT_4K,
				 IOMMU_PAGE_SHIFT_4K);
	if (ret)
		return ret;
	for (num = 0; num < IOMMU_TABLE_GROUP_MAX_TABLES; num++)
		host_table_put(table_group, num);
	return 0;
}

/* Unless the host has a window, make the default one's table. Without, devices have no DMA. */
static void host_window_make(struct iommu_table_group *table_group, struct pci_dev *pdev)
{
	struct device_node *pdn;
	struct default_window d;
	struct iommu_table *tbl;

	if (table_group->tables[0] || iommu_group_has_user_table(table_group))
		return;
	pdn = pci_dma_find(pci_device_to_OF_node(pdev), NULL);
	if (!pdn || host_has_dynamic_window(pdn))
		return;
	default_window_restore(table_group, pdev, pdn);
	if (!default_window_find(table_group, pdn, &d)) {
		pci_warn(pdev, "the default DMA window does not come back\n");
		return;
	}
	tbl = iommu_pseries_alloc_table(dev_to_node(&pdev->dev));
	if (!tbl)
		return;
	iommu_table_setparms_common(tbl, pdev->bus->number, d.liobn, d.start, d.size,
				    IOMMU_PAGE_SHIFT_4K, NULL, &iommu_table_lpar_multi_ops);
	if (iommu_init_table(tbl, dev_to_node(&pdev->dev), 0, 0))
		WRITE_ONCE(table_group->tables[0], tbl);
	else
		iommu_tce_table_put(tbl);
}

/* The page sizes that ibm,query-pe-dma-window reports, as a bitmap */
static u64 query_page_sizes(u32 reported)
{
	/* In LoPAR's order */
	static const u64 size[] = {
		SZ_4K, SZ_64K, SZ_16M, SZ_32M, SZ_64M, SZ_128M, SZ_256M, SZ_16G, SZ_2M
	};
	u64 sizes = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(size); i++)
		if (reported & BIT(i))
			sizes |= size[i];
	return sizes;
}

/*
 * What the PE has for a user, while it has no window but the default one. If the query fails,
 * the next user's asks again.
 */
static void group_query(struct iommu_table_group *table_group, struct pci_dev *pdev,
			struct device_node *pdn)
{
	struct ddw_query_response query;
	u32 tokens[DDW_APPLICABLE_SIZE];
	struct default_window d;

	if (user_has_windows(pdn))
		return;
	if (default_window_find(table_group, pdn, &d)) {
		table_group->tce32_start = d.start;
		table_group->tce32_size = d.size;
	}
	table_group->max_levels = 1;
	if (of_property_read_u32_array(pdn, "ibm,ddw-applicable", tokens, DDW_APPLICABLE_SIZE) ||
	    query_ddw(pdev, tokens, &query, pdn))
		return;
	table_group->max_dynamic_windows_supported =
		query.windows_available ? IOMMU_TABLE_GROUP_MAX_TABLES : 1;
	table_group->pgsizes |= query_page_sizes(query.page_size);
}

/*
 * Called for each device of the group. The first call removes the host's windows. Later calls
 * find none; a call for a device that is added later finds the user's windows, which stay.
 * After an error the host has a window again.
 */
static long user_take_ownership(struct iommu_table_group *table_group, struct device *dev)
{
	struct pci_dev *pdev = to_pci_dev(dev);
	struct device_node *pdn;
	int ret = 0;

	mutex_lock(&dma_win_init_mutex);
	if (!iommu_group_has_user_table(table_group)) {
		pdn = pci_dma_find(pci_device_to_OF_node(pdev), NULL);
		ret = pdn ? host_windows_take(table_group, pdev, pdn) : -ENODEV;
		if (ret)
			host_window_make(table_group, pdev);
		else
			group_query(table_group, pdev, pdn);
	}
	set_iommu_table_base(dev, ret ? iommu_group_host_table(table_group) : NULL);
	mutex_unlock(&dma_win_init_mutex);
	return ret;
}

/*
 * Called for each device of the group, too: the first call restores the host's window. A later
 * call may find a dynamic window in its place, made for the driver of the first device.
 */
static void user_release_ownership(struct iommu_table_group *table_group, struct device *dev)
{
	mutex_lock(&dma_win_init_mutex);
	host_window_make(table_group, to_pci_dev(dev));
	set_iommu_table_base(dev, iommu_group_host_table(table_group));
	mutex_unlock(&dma_win_init_mutex);
}

struct iommu_table_group_ops spapr_tce_table_group_ops = {
	.create_table = user_create_table,
	.set_window = user_set_window,
	.unset_window = user_unset_window,
	.take_ownership = user_take_ownership,
	.release_ownership = user_release_ownership,
};

/* ---- kexec ---- */

#ifdef CONFIG_KEXEC_CORE
/* Stop the device, or remove windows of its group that the next kernel does not know. */
static void device_windows(struct pci_dev *pdev, bool remove)
{
	struct iommu_group *group = iommu_group_get(&pdev->dev);
	struct iommu_table_group *table_group = NULL;
	struct user_window *w, *next;
	bool removed = false, refused = false;

	mutex_lock(&dma_win_init_mutex);
	list_for_each_entry_safe(w, next, &user_windows, next) {
		if (!group || w->group->group != group)
			continue;
		table_group = w->group;
		if (!remove) {
			pci_clear_master(pdev);
		} else if (w->dynamic &&
			   !__remove_dma_window(w->pdn, w->tokens, w->tbl.it_index)) {
			w->open = false;
			list_del(&w->next);
			removed = true;
		} else {
			/* The user may have enabled DMA of the device again. */
			window_empty(w);
			refused |= w->dynamic;
		}
	}
	if (refused)
		windows_reset(table_group, pdev,
			      pci_dma_find(pci_device_to_OF_node(pdev), NULL));
	else if (removed)
		default_window_restore(table_group, pdev,
				       pci_dma_find(pci_device_to_OF_node(pdev), NULL));
	mutex_unlock(&dma_win_init_mutex);
	iommu_group_put(group);
}

/* To the next kernel a dynamic window would be taken space without an owner. */
static int user_windows_reboot(struct notifier_block *nb, unsigned long action, void *data)
{
	struct pci_dev *pdev = NULL;

	if (!kexec_in_progress)
		return NOTIFY_DONE;
	mutex_lock(&dma_win_init_mutex);
	windows_closing = true;
	mutex_unlock(&dma_win_init_mutex);
	for_each_pci_dev(pdev)
		device_windows(pdev, false);
	for_each_pci_dev(pdev)
		device_windows(pdev, true);
	return NOTIFY_DONE;
}

static struct notifier_block user_windows_nb = {
	.notifier_call = user_windows_reboot,
};

static int __init user_windows_init(void)
{
	return register_reboot_notifier(&user_windows_nb);
}
machine_device_initcall(pseries, user_windows_init);
#endif

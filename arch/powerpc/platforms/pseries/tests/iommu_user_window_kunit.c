// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tests of a user's TCEs and windows on pSeries: the platform's operations against a
 * hypervisor that answers as it is told to.
 *
 * iommu_user_window.c is included with its hypercalls replaced, so this runs on any
 * machine. So are the PE's node and device. The hypervisor fails at one entry, after it has
 * changed those before it: what a real one does is not known. struct fixture's ua[] is the
 * model: where each entry must lead. expect_model() holds against it what the hypervisor
 * has, the view words, and what regions (v2) or pages (v1) are held.
 */
#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <asm/firmware.h>
#include <asm/iommu.h>
#include <asm/machdep.h>
#include <asm/mm_iommu.h>
#include <asm/pci-bridge.h>
#include <asm/plpar_wrappers.h>
#include <asm/prom.h>
#include "../../../mm/book3s64/mm_iommu_core.h"
#include "../../../mm/book3s64/tests/iommu_kunit.h"

#define spapr_tce_table_group_ops	kunit_table_group_ops
#include "../iommu_user_window.h"

#define P		PAGE_SIZE
#define SHIFT		12
#define LEAF_SHIFT	9
#define ENTRIES		2048U		/* four leaves */
#define OFFSET		0x1000UL	/* of the window, in entries */
#define WINDOW_LIOBN	0x80000021UL
#define MEMORY		1280UL	/* in entries, of whatever pages */
#define MEMORY_PAGES	((MEMORY << SHIFT) / P)
#define ALWAYS		~0U

/* The PE's default window, where it is another than the user's */
#define DEFAULT_LIOBN	0x80000020UL
#define DEFAULT_ENTRIES	1024U

/* The hypervisor */
static struct {
	unsigned long features;
	u64 tce[ENTRIES];
	unsigned int puts, indirects, stuffs;
	unsigned int wrong;		/* calls that break its rules */
	unsigned int in_a_row;		/* without a chance for other tasks */
	long rc;			/* what it says */
	unsigned long at;		/* of this entry */
	unsigned int times;		/* so often */
	bool restores;			/* but takes back what the entry was */
	bool clears;			/* but clears it */
	bool sets;			/* but has done it all the same, once */
	bool all;			/* of every entry */
} hv;

/* Set entry @i. */
static long hv_set(unsigned long i, u64 tce)
{
	if (i >= ENTRIES) {
		hv.wrong++;
		return H_PARAMETER;
	}
	if ((hv.all || i == hv.at) && hv.times && !(hv.restores && tce == hv.tce[i]) &&
	    !(hv.clears && !tce)) {
		if (hv.times != ALWAYS)
			hv.times--;
		if (hv.sets)
			hv.tce[i] = tce;
		hv.sets = false;
		return hv.rc;
	}
	hv.tce[i] = tce;
	return H_SUCCESS;
}

/* A PE: its device, and what the hypervisor says of its windows. */
static struct {
	struct device_node node;
	__be32 window[5];			/* the default one's property */
	struct pci_bus bus;
	struct pci_dev pdev;
	struct iommu_table_group group;
	int removed, reset, queried;		/* what RTAS returns */
	unsigned int removes, resets;
	bool listed;				/* by the host */
	bool direct;				/* as what */
	unsigned long cleared;			/* entries of the default window */
	long rc;				/* what clearing them says */
	unsigned int times;			/* so often */
} pe;

/* Clear entries of the default window. */
static long pe_clear(unsigned long ioba, unsigned long tce, unsigned long n)
{
	hv.wrong += tce || ioba != pe.cleared << SHIFT;
	if (pe.times) {
		if (pe.times != ALWAYS)
			pe.times--;
		return pe.rc;
	}
	pe.cleared += n;
	return H_SUCCESS;
}

static int pe_remove(struct device_node *pdn, u32 *tokens, u64 liobn)
{
	pe.removes++;
	hv.wrong += pdn != &pe.node || (liobn != WINDOW_LIOBN && liobn != DEFAULT_LIOBN);
	return pe.removed;
}

static int pe_reset(struct pci_dev *pdev, struct device_node *pdn)
{
	pe.resets++;
	return pe.reset;
}

static int pe_query(struct pci_dev *pdev, const u32 *tokens, struct ddw_query_response *query,
		    struct device_node *pdn)
{
	query->windows_available = 1;
	query->largest_available_block = ENTRIES;
	query->page_size = 3;		/* 4K, 64K */
	return pe.queried;
}

static int pe_create(struct pci_dev *pdev, const u32 *tokens, struct ddw_create_response *create,
		     int page_shift, int window_shift)
{
	create->liobn = WINDOW_LIOBN;
	create->addr_hi = 0;
	create->addr_lo = OFFSET << SHIFT;
	return 0;
}

static struct device_node *pe_find(struct device_node *dn, struct dynamic_dma_window_prop *prop)
{
	return dn;
}

static void pe_forget(struct device_node *pdn, bool gone)
{
	pe.direct = false;
	pe.listed &= !gone;
}

static unsigned long hv_entry(unsigned long liobn, unsigned long ioba)
{
	hv.wrong += liobn != WINDOW_LIOBN || ioba & (BIT(SHIFT) - 1);
	return (ioba >> SHIFT) - OFFSET;
}

/*
 * Ask for the CPU, as a timer would: before the next call the caller must have given way. The
 * timer itself may ask just before that call, but seldom.
 */
static void hv_called(unsigned int *n)
{
	(*n)++;
	hv.in_a_row += test_tsk_need_resched(current);
	set_tsk_need_resched(current);
	set_preempt_need_resched();
}

static long hv_put(unsigned long liobn, unsigned long ioba, unsigned long tce)
{
	hv_called(&hv.puts);
	if (liobn == DEFAULT_LIOBN)
		return pe_clear(ioba, tce, 1);
	return hv_set(hv_entry(liobn, ioba), tce);
}

static long hv_indirect(unsigned long liobn, unsigned long ioba, unsigned long page,
			unsigned long n)
{
	unsigned long first = hv_entry(liobn, ioba), i;
	const __be64 *list = __va(page);
	long rc = H_SUCCESS;

	hv_called(&hv.indirects);
	hv.wrong += page & (SZ_4K - 1) || !n || n > 512 || !irqs_disabled();
	for (i = 0; i < n && !rc; i++)
		rc = hv_set(first + i, be64_to_cpu(list[i]));
	return rc;
}

static long hv_stuff(unsigned long liobn, unsigned long ioba, unsigned long tce,
		     unsigned long n)
{
	unsigned long first, i;
	long rc = H_SUCCESS;

	hv_called(&hv.stuffs);
	if (liobn == DEFAULT_LIOBN)
		return pe_clear(ioba, tce, n);
	first = hv_entry(liobn, ioba);
	hv.wrong += !n || n > 512 || tce;
	for (i = 0; i < n && !rc; i++)
		rc = hv_set(first + i, tce);
	return rc;
}

/* The host clears a table of its own before it uses it. */
static void host_table_clear(struct iommu_table *tbl, long index, long n)
{
}

static struct iommu_table_ops host_table_ops = {
	.clear = host_table_clear,
};

#define pci_dev_get(pdev)		(pdev)
#define pci_dev_put(pdev)		((void)(pdev))
#define of_node_get(node)		(node)
#define of_node_put(node)		((void)(node))
#define iommu_group_for_each_dev(group, found, fn) \
	((void)(group), (void)(fn), *(found) = &pe.pdev)
#define iommu_table_lpar_multi_ops	host_table_ops
#define __remove_dma_window		pe_remove
#define reset_dma_window		pe_reset
#define query_ddw			pe_query
#define create_ddw			pe_create
#define pci_dma_find			pe_find
#define dma_win_forget			pe_forget

#undef firmware_has_feature
#define firmware_has_feature(feature)	(hv.features & (feature))
#undef machine_device_initcall
#define machine_device_initcall(mach, fn) \
	static initcall_t mach##_##fn __initdata __maybe_unused = fn
#define plpar_tce_put			hv_put
#define plpar_tce_put_indirect		hv_indirect
#define plpar_tce_stuff			hv_stuff

#include "../iommu_user_window.c"

struct fixture {
	struct mm_struct *mm;
	struct iommu_table *tbl;
	struct iommu_user_gather g;
	unsigned long base;		/* user memory */
	unsigned long hpa[MEMORY_PAGES];
	struct mm_iommu_region *mem;
	long pins;			/* before the case */
	long room;			/* for pages in an empty window, v1 */
	unsigned long ua[ENTRIES];	/* the model; 0: clear */
};

static const struct kind {
	const char *name;
	bool pins;
	bool single;			/* no calls for several TCEs */
} kinds[] = {
	{ "regions", false, false },
	{ "regions, one by one", false, true },
	{ "pins", true, false },
	{ "pins, one by one", true, true },
};

KUNIT_ARRAY_PARAM_DESC(kind, kinds, name);

static const struct kind *kind_of(struct kunit *test)
{
	return test->param_value;
}

/* ---- set-up ---- */

/* Pages of the process, registered for v2 */
static void memory_make(struct kunit *test, struct fixture *f, bool reg)
{
	unsigned long i;
	struct page *page;

	f->base = kunit_vm_mmap(test, NULL, 0, MEMORY_PAGES * P, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)f->base));
	for (i = 0; i < MEMORY_PAGES; i++)
		KUNIT_ASSERT_EQ(test, put_user((u8)1, (u8 __user *)(f->base + i * P)), 0);
	if (reg)
		KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, f->base, MEMORY_PAGES * P,
							&f->mem), 0);
	/* A page that is pinned, or whose process runs on, stays where it is. */
	for (i = 0; i < MEMORY_PAGES; i++) {
		KUNIT_ASSERT_EQ(test, get_user_pages_fast(f->base + i * P, 1, FOLL_WRITE,
							  &page), 1);
		f->hpa[i] = page_to_phys(page);
		put_page(page);
	}
}

static void window_make(struct kunit *test, struct fixture *f, bool pins)
{
	struct user_window *w = kzalloc_obj(*w);
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, w);
	INIT_LIST_HEAD_RCU(&w->tbl.it_group_list);
	kref_init(&w->tbl.it_kref);
	iommu_table_setparms_common(&w->tbl, 0, WINDOW_LIOBN, OFFSET << SHIFT,
				    (unsigned long)ENTRIES << SHIFT, SHIFT, NULL,
				    user_table_ops_choose());
	if (pins)
		iommu_user_pins_init(&w->tbl, false);
	f->room = atomic_long_read(&w->tbl.it_pin_room);
	ret = iommu_levels_init(&w->tbl, NUMA_NO_NODE, 2, LEAF_SHIFT, false, f->mm);
	if (ret)
		kfree(w);
	KUNIT_ASSERT_EQ(test, ret, 0);
	f->tbl = &w->tbl;
}

static int window_test_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	const struct kind *k = kind_of(test);
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, f);
	memset(&hv, 0, sizeof(hv));
	if (!k || !k->single)
		hv.features = FW_FEATURE_PUT_TCE_IND | FW_FEATURE_STUFF_TCE;
	f->mm = own_mm(test);
	test->priv = f;
	mutex_lock(&dma_win_init_mutex);
	ret = tce_lists_alloc();
	mutex_unlock(&dma_win_init_mutex);
	KUNIT_ASSERT_EQ(test, ret, 0);
	f->pins = pins_live();
	if (k) {
		memory_make(test, f, !k->pins);
		window_make(test, f, k->pins);
	}
	return 0;
}

/* Nothing is live: the room is the window's again, once what was charged beyond is returned. */
static void expect_room(struct kunit *test)
{
	struct fixture *f = test->priv;

	KUNIT_EXPECT_GE(test, atomic_long_read(&f->tbl->it_pin_room), f->room);
	iommu_user_pins_uncharge(f->tbl);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&f->tbl->it_pin_room), f->room);
}

static void window_test_exit(struct kunit *test)
{
	struct fixture *f = test->priv;
	int cpu;

	if (!f)
		return;
	hv.times = 0;
	if (f->tbl) {
		iommu_user_begin(&f->g, f->tbl, false);
		iommu_user_unmap(&f->g, OFFSET, ENTRIES);
		iommu_user_finish(&f->g);
		expect_room(test);
		iommu_tce_table_put(f->tbl);
	}
	if (f->mem)
		KUNIT_EXPECT_EQ(test, mm_iommu_unregister(f->mm, f->mem), 0);
	mm_iommu_drain(f->mm);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins);
	KUNIT_EXPECT_EQ(test, hv.wrong, 0U);
	for_each_possible_cpu(cpu) {
		kfree(per_cpu(user_tce_list, cpu));
		per_cpu(user_tce_list, cpu) = NULL;
	}
	mmdrop(f->mm);
	test->priv = NULL;
}

/* ---- the model ---- */

/* Where memory entry @i is, or its host address */
static unsigned long ua_of(struct fixture *f, unsigned long i)
{
	return f->base + (i << SHIFT);
}

static unsigned long hpa_of(struct fixture *f, unsigned long ua)
{
	unsigned long off = ua - f->base;

	return f->hpa[off >> PAGE_SHIFT] + (off & ~PAGE_MASK);
}

static void model_set(struct fixture *f, unsigned long i, unsigned long n, unsigned long ua)
{
	for (; n; n--, i++) {
		f->ua[i] = ua;
		if (ua)
			ua += BIT(SHIFT);
	}
}

static u64 view_word(struct iommu_table *tbl, unsigned long i)
{
	struct iommu_span span;
	u64 word;

	rcu_read_lock();
	iommu_levels_walk(tbl, i, &span);
	word = span.view ? READ_ONCE(*span.view) : 0;
	rcu_read_unlock();
	return word;
}

/* References of the region, or pins */
static long held(struct fixture *f)
{
	return f->mem ? atomic64_read(&f->mem->mapped) - 1 : pins_live() - f->pins;
}

static void expect_model_at(struct kunit *test, const char *what, int line)
{
	struct fixture *f = test->priv;
	bool pins = f->tbl->it_pins;
	u64 tce, word, flags = IOMMU_VIEW_LIVE | IOMMU_VIEW_WRITE | (pins ? IOMMU_VIEW_PIN : 0);
	unsigned long i;
	long live = 0;

	for (i = 0; i < ENTRIES; i++) {
		tce = 0;
		word = 0;
		if (f->ua[i]) {
			tce = hpa_of(f, f->ua[i]) | TCE_PCI_READ | TCE_PCI_WRITE;
			word = (pins ? hpa_of(f, f->ua[i]) : f->ua[i]) | flags;
			live++;
		}
		KUNIT_EXPECT_EQ_MSG(test, hv.tce[i], tce, "%s, line %d, entry %lu", what, line, i);
		KUNIT_EXPECT_EQ_MSG(test, view_word(f->tbl, i), word, "%s, line %d, entry %lu",
				    what, line, i);
	}
	KUNIT_EXPECT_EQ_MSG(test, held(f), live, "%s, line %d", what, line);
}

#define expect_model(test, what)	expect_model_at(test, what, __LINE__)

/* Map as far as it goes. */
static int map(struct fixture *f, unsigned long i, unsigned long n, unsigned long ua,
	       unsigned long *done)
{
	int ret;

	iommu_user_begin(&f->g, f->tbl, false);
	ret = iommu_user_map(&f->g, OFFSET + i, n, ua, DMA_BIDIRECTIONAL, done);
	iommu_user_finish(&f->g);
	model_set(f, i, *done, ua);
	return ret;
}

static long unmap(struct fixture *f, unsigned long i, unsigned long n)
{
	long live;

	iommu_user_begin(&f->g, f->tbl, false);
	live = iommu_user_unmap(&f->g, OFFSET + i, n);
	iommu_user_finish(&f->g);
	return live;
}

/* From now on: @rc at entry @at, so often; 0: never */
static void hv_fail(unsigned long at, long rc, unsigned int times)
{
	hv.at = at;
	hv.rc = rc;
	hv.times = times;
	hv.restores = true;
	hv.clears = false;
	hv.sets = false;
	hv.all = false;
	hv.puts = 0;
	hv.indirects = 0;
	hv.stuffs = 0;
	cond_resched();
	hv.in_a_row = 0;
}

static unsigned int hv_calls(void)
{
	return hv.puts + hv.indirects + hv.stuffs;
}

/* ---- cases ---- */

/* Which calls there are, and how many; nobody asks what an entry is. */
static void calls(struct kunit *test)
{
	const struct kind *k = kind_of(test);
	struct fixture *f = test->priv;
	unsigned long done;

	hv_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, map(f, 3, 1, ua_of(f, 0), &done), 0);
	KUNIT_EXPECT_EQ(test, map(f, 3, 1, ua_of(f, 1), &done), 0);
	expect_model(test, "one");
	KUNIT_EXPECT_EQ(test, unmap(f, 3, 1), 1L);
	model_set(f, 3, 1, 0);
	expect_model(test, "one");
	KUNIT_EXPECT_EQ(test, hv.puts, 3U);
	KUNIT_EXPECT_EQ(test, hv_calls(), 3U);

	hv_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, map(f, 500, 1100, ua_of(f, 16), &done), 0);
	KUNIT_EXPECT_EQ(test, map(f, 500, 1100, ua_of(f, 100), &done), 0);
	KUNIT_EXPECT_LE(test, hv.in_a_row, hv_calls() / 2);
	expect_model(test, "many");
	if (k->single) {
		KUNIT_EXPECT_EQ(test, hv.puts, 2200U);
		KUNIT_EXPECT_EQ(test, hv.indirects, 0U);
	} else if (!k->pins) {	/* leaves: 12, 512, 512, 64 */
		KUNIT_EXPECT_EQ(test, hv.puts, 0U);
		KUNIT_EXPECT_EQ(test, hv.indirects, 8U);
	} else {		/* by what is pinned at a time */
		KUNIT_EXPECT_LE(test, hv_calls(), 2 * (MEMORY_PAGES + 8));
	}
	hv_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, unmap(f, 0, ENTRIES), 1100L);
	KUNIT_EXPECT_LE(test, hv.in_a_row, hv_calls() / 2);
	model_set(f, 0, ENTRIES, 0);
	expect_model(test, "many");
	KUNIT_EXPECT_EQ(test, hv.puts, k->single ? 1100U : 0U);
	if (k->single)
		KUNIT_EXPECT_EQ(test, hv.stuffs, 0U);
	else
		KUNIT_EXPECT_LE(test, hv.stuffs, k->pins ? MEMORY_PAGES + 8 : 4U);
	/* None for what is clear */
	hv_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, unmap(f, 0, ENTRIES), 0L);
	KUNIT_EXPECT_EQ(test, hv_calls(), 0U);
}

static const struct answer {
	const char *name;
	long rc;
	int err;
} answers[] = {
	{ "H_PARAMETER", H_PARAMETER, -EINVAL },
	{ "H_NOT_ENOUGH_RESOURCES", H_NOT_ENOUGH_RESOURCES, -ENOMEM },
	{ "H_HARDWARE", H_HARDWARE, -EIO },
	{ "H_RESCINDED", H_RESCINDED, -EIO },
	{ "H_FUNCTION", H_FUNCTION, -EIO },
};

static void clear_all(struct kunit *test)
{
	struct fixture *f = test->priv;

	hv.times = 0;
	unmap(f, 0, ENTRIES);
	model_set(f, 0, ENTRIES, 0);
	expect_model(test, "clear");
	expect_room(test);
}

/* Of @n entries one is refused, for ever: all others are as wanted, or as they were. */
static void refused_one(struct kunit *test, const struct answer *a, unsigned long first,
			unsigned long n, unsigned long at)
{
	struct fixture *f = test->priv;
	unsigned long done;

	/* New ones */
	hv_fail(at, a->rc, ALWAYS);
	KUNIT_EXPECT_EQ(test, map(f, first, n, ua_of(f, 7), &done), a->err);
	KUNIT_EXPECT_EQ(test, done, at - first);
	expect_model(test, a->name);
	clear_all(test);

	/* In place of others */
	KUNIT_EXPECT_EQ(test, map(f, first, n, ua_of(f, 16), &done), 0);
	hv_fail(at, a->rc, ALWAYS);
	KUNIT_EXPECT_EQ(test, map(f, first, n, ua_of(f, 7), &done), a->err);
	KUNIT_EXPECT_EQ(test, done, at - first);
	expect_model(test, a->name);

	/* Nor is it cleared. */
	hv_fail(at, a->rc, ALWAYS);
	KUNIT_EXPECT_EQ(test, unmap(f, first, n), (long)n - 1);
	model_set(f, first, at - first, 0);
	model_set(f, at + 1, first + n - at - 1, 0);
	expect_model(test, a->name);
	/* What it costs to find it, and to ask for more again */
	KUNIT_EXPECT_LE(test, hv_calls(), kind_of(test)->single ? (unsigned int)n + 1 : 100U);
	clear_all(test);
}

static void refused(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(answers); i++) {
		refused_one(test, answers + i, 60, 1, 60);
		refused_one(test, answers + i, 60, 2, 61);
		refused_one(test, answers + i, 30, 400, 30);
		refused_one(test, answers + i, 30, 400, 131);
		refused_one(test, answers + i, 500, 700, 1199);
	}
}

/* For what happens when a call for many entries fails half way */
static void calls_for_many(struct kunit *test)
{
	if (kind_of(test)->pins && P == BIT(SHIFT))
		kunit_skip(test, "by what is pinned at a time, which may be one entry");
}

/* Nor does it take back what was there: such an entry is cleared, if that can be done. */
static void not_restored(struct kunit *test)
{
	const struct kind *k = kind_of(test);
	struct fixture *f = test->priv;
	unsigned long done;

	calls_for_many(test);
	KUNIT_EXPECT_EQ(test, map(f, 30, 400, ua_of(f, 16), &done), 0);
	hv_fail(131, H_HARDWARE, ALWAYS);
	hv.restores = false;
	hv.clears = true;
	KUNIT_EXPECT_EQ(test, map(f, 30, 400, ua_of(f, 9), &done), -EIO);
	KUNIT_EXPECT_EQ(test, done, 101UL);
	/* A single call changes nothing when it fails. */
	if (!k->single)
		model_set(f, 131, 1, 0);
	expect_model(test, "cleared");
	clear_all(test);
}

/*
 * Nobody can tell what an entry is: it was set, the hypervisor says that it was not, and
 * neither takes it back nor clears it. Then it holds what it may lead to.
 */
static void unknown_state(struct kunit *test)
{
	const struct kind *k = kind_of(test);
	struct fixture *f = test->priv;
	unsigned long done;
	long more;

	calls_for_many(test);
	hv_fail(131, H_HARDWARE, ALWAYS);
	hv.restores = false;
	hv.sets = !k->single;	/* a single call changes nothing when it fails */
	KUNIT_EXPECT_EQ(test, map(f, 30, 400, ua_of(f, 7), &done), -EIO);
	KUNIT_EXPECT_EQ(test, done, 101UL);
	if (!k->single)
		model_set(f, 131, 1, ua_of(f, 7 + 101));
	expect_model(test, "set");
	clear_all(test);
	if (k->single)
		return;

	/* It led elsewhere: the new page stays held for good, once for each call. */
	KUNIT_EXPECT_EQ(test, map(f, 30, 400, ua_of(f, 16), &done), 0);
	hv_fail(131, H_HARDWARE, ALWAYS);
	hv.restores = false;
	KUNIT_EXPECT_EQ(test, map(f, 30, 400, ua_of(f, 7), &done), -EIO);
	KUNIT_EXPECT_EQ(test, done, 101UL);
	more = held(f) - 400;
	KUNIT_EXPECT_GE(test, more, 1L);
	KUNIT_EXPECT_LE(test, more, 10L);
	for (; more > 0; more--) {
		if (k->pins)
			unpin_user_page(pfn_to_page(hpa_of(f, ua_of(f, 7 + 101)) >> PAGE_SHIFT));
		else
			mm_iommu_put(f->mem, 1);
	}
	expect_model(test, "kept");
	clear_all(test);
}

/* Nothing is cleared any more: no more than a call for each entry, and some in vain */
static void hopeless(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long done;

	KUNIT_EXPECT_EQ(test, map(f, 512, 512, ua_of(f, 7), &done), 0);
	hv_fail(0, H_RESCINDED, ALWAYS);
	hv.all = true;
	hv.restores = false;
	KUNIT_EXPECT_EQ(test, unmap(f, 512, 512), 0L);
	KUNIT_EXPECT_LE(test, hv_calls(), 512U + 20);
	expect_model(test, "hopeless");
	clear_all(test);
}

static const long busy_codes[] = {
	H_BUSY, H_LONG_BUSY_ORDER_1_MSEC, H_LONG_BUSY_ORDER_10_MSEC,
	H_LONG_BUSY_ORDER_100_MSEC, H_LONG_BUSY_ORDER_1_SEC, H_LONG_BUSY_ORDER_10_SEC,
	H_LONG_BUSY_ORDER_100_SEC,
};

/* Busy is no error: again, until it is not. */
static void busy_at(struct kunit *test, long rc, unsigned long first, unsigned long n,
		    unsigned long at, bool restores)
{
	struct fixture *f = test->priv;
	unsigned long done;

	hv_fail(at, rc, 5);
	hv.restores = restores;
	KUNIT_EXPECT_EQ(test, map(f, first, n, ua_of(f, 7), &done), 0);
	KUNIT_EXPECT_EQ(test, hv.times, 0U);
	expect_model(test, "busy");
	/* Nothing stays held, if the old entries can't be put back at once either. */
	hv_fail(at, rc, 50);
	hv.restores = restores;
	KUNIT_EXPECT_EQ(test, map(f, first, n, ua_of(f, 9), &done), 0);
	KUNIT_EXPECT_EQ(test, hv.times, 0U);
	expect_model(test, "busy");
	hv_fail(at, rc, 5);
	KUNIT_EXPECT_EQ(test, unmap(f, first, n), (long)n);
	KUNIT_EXPECT_EQ(test, hv.times, 0U);
	model_set(f, first, n, 0);
	expect_model(test, "busy");
}

static void busy(struct kunit *test)
{
	unsigned int i, restores;

	for (i = 0; i < ARRAY_SIZE(busy_codes); i++) {
		for (restores = 0; restores < 2; restores++) {
			busy_at(test, busy_codes[i], 60, 40, 70, restores);
			busy_at(test, busy_codes[i], 60, 1, 60, restores);
			busy_at(test, busy_codes[i], 500, 700, 1030, restores);
		}
	}
}

/* Map the list's pages to the entries from @i on; @g->done tells how many. */
static int map_list(struct fixture *f, unsigned long i, unsigned long n, const u64 *list)
{
	unsigned long k;
	int ret;

	iommu_user_begin(&f->g, f->tbl, false);
	ret = iommu_user_map_list(&f->g, OFFSET + i, n, list, f->base, DMA_BIDIRECTIONAL);
	iommu_user_finish(&f->g);
	for (k = 0; k < f->g.done; k++)
		model_set(f, i + k, 1, f->base + list[k]);
	return ret;
}

/* A list of pages of which one is refused, or must wait */
static void lists(struct kunit *test)
{
	const struct kind *k = kind_of(test);
	struct fixture *f = test->priv;
	unsigned long i;
	u64 *list;

	list = kunit_kcalloc(test, 400, sizeof(*list), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, list);
	for (i = 0; i < 400; i++)
		list[i] = ((i * 37) % MEMORY) << SHIFT;

	for (i = 0; i < ARRAY_SIZE(answers); i++) {
		hv_fail(0, 0, 0);
		KUNIT_EXPECT_EQ(test, map_list(f, 30, 400, list), 0);
		expect_model(test, "list");
		if (!k->single && !k->pins)
			KUNIT_EXPECT_EQ(test, hv_calls(), 1U);

		hv_fail(230, answers[i].rc, ALWAYS);
		KUNIT_EXPECT_EQ(test, map_list(f, 31, 399, list), answers[i].err);
		KUNIT_EXPECT_EQ(test, f->g.done, 199UL);
		expect_model(test, answers[i].name);
		clear_all(test);
	}
	for (i = 0; i < ARRAY_SIZE(busy_codes); i++) {
		hv_fail(230, busy_codes[i], 5);
		KUNIT_EXPECT_EQ(test, map_list(f, 30, 400, list), 0);
		KUNIT_EXPECT_EQ(test, hv.times, 0U);
		expect_model(test, "busy");
		clear_all(test);
	}
}

/* A single entry by a try, as KVM does it: what it could not do is as before. */
static void tries(struct kunit *test)
{
	const u64 word = iommu_view_word(ua_of(test->priv, 3), true);
	const struct kind *k = kind_of(test);
	struct fixture *f = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(answers) + ARRAY_SIZE(busy_codes); i++) {
		bool again = i >= ARRAY_SIZE(answers);
		int err = again && !k->pins ? -EAGAIN : -EOPNOTSUPP;
		long rc = again ? busy_codes[i - ARRAY_SIZE(answers)] : answers[i].rc;
		unsigned long done;

		KUNIT_EXPECT_EQ(test, map(f, 21, 1, ua_of(f, 5), &done), 0);
		hv_fail(20, rc, ALWAYS);
		iommu_user_enter();
		KUNIT_EXPECT_EQ(test, iommu_user_try_map_one(f->tbl, OFFSET + 20, word, false),
				err);
		hv.at = 21;
		KUNIT_EXPECT_EQ(test, iommu_user_try_map_one(f->tbl, OFFSET + 21, word, false),
				err);
		KUNIT_EXPECT_EQ(test, iommu_user_try_unmap_one(f->tbl, OFFSET + 21, false), err);
		/* Never with the MMU off */
		KUNIT_EXPECT_EQ(test, iommu_user_try_map_one(f->tbl, OFFSET + 20, word, true),
				-EOPNOTSUPP);
		iommu_user_leave();
		KUNIT_EXPECT_EQ(test, hv_calls(), k->pins ? 0U : 3U);
		expect_model(test, "try");

		hv_fail(0, 0, 0);
		iommu_user_enter();
		if (!k->pins) {
			KUNIT_EXPECT_EQ(test, iommu_user_try_map_one(f->tbl, OFFSET + 20, word,
								     false), 0);
			model_set(f, 20, 1, ua_of(f, 3));
			KUNIT_EXPECT_EQ(test, iommu_user_try_unmap_one(f->tbl, OFFSET + 21,
								       false), 1);
			model_set(f, 21, 1, 0);
		}
		iommu_user_leave();
		expect_model(test, "try");
		clear_all(test);
	}
}

/* What can't be cleared is let go of once its window is gone. */
static void forgotten(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long done;

	KUNIT_EXPECT_EQ(test, map(f, 30, 400, ua_of(f, 16), &done), 0);
	hv_fail(131, H_HARDWARE, ALWAYS);
	KUNIT_EXPECT_EQ(test, unmap(f, 0, ENTRIES), 399L);
	model_set(f, 30, 101, 0);
	model_set(f, 132, 298, 0);
	expect_model(test, "refused");
	KUNIT_EXPECT_FALSE(test, table_is_clear(f->tbl));

	table_forget(f->tbl);
	KUNIT_EXPECT_TRUE(test, table_is_clear(f->tbl));
	hv.tce[131] = 0;
	model_set(f, 131, 1, 0);
	expect_model(test, "gone");
	KUNIT_EXPECT_EQ(test, map(f, 30, 40, ua_of(f, 16), &done), -ENODEV);
	expect_model(test, "gone");
}

/* What a host's driver may have left in the default window */
static void left_over(struct kunit *test)
{
	const struct kind *k = kind_of(test);
	unsigned int i;

	for (i = 0; i < ENTRIES; i++)
		hv.tce[i] = ((u64)i << SHIFT) | TCE_PCI_READ;
	KUNIT_EXPECT_EQ(test, tces_clear(WINDOW_LIOBN, OFFSET << SHIFT, ENTRIES, SHIFT), 0);
	for (i = 0; i < ENTRIES; i++)
		KUNIT_EXPECT_EQ(test, hv.tce[i], 0ULL);
	KUNIT_EXPECT_EQ(test, hv_calls(), k->single ? ENTRIES : ENTRIES / 512);
	/* A preemptible kernel gives way without being asked, at the next interrupt. */
	if (!IS_ENABLED(CONFIG_PREEMPTION))
		KUNIT_EXPECT_LE(test, hv.in_a_row, hv_calls() / 2);
	hv_fail(700, H_HARDWARE, ALWAYS);
	hv.tce[700] = TCE_PCI_READ;
	KUNIT_EXPECT_EQ(test, tces_clear(WINDOW_LIOBN, OFFSET << SHIFT, ENTRIES, SHIFT), -EIO);
	hv.tce[700] = 0;
}

/* ---- the PE's windows ---- */

static void hv_leave(u64 tce)
{
	unsigned int i;

	for (i = 0; i < ENTRIES; i++)
		hv.tce[i] = tce ? ((u64)i << SHIFT) | tce : 0;
}

static unsigned int hv_live(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < ENTRIES; i++)
		n += !!hv.tce[i];
	return n;
}

static void pe_property(struct kunit *test, const char *name, const void *value, int length)
{
	struct property *prop = kunit_kzalloc(test, sizeof(*prop), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, prop);
	prop->name = (char *)name;
	prop->value = (void *)value;
	prop->length = length;
	prop->next = pe.node.properties;
	pe.node.properties = prop;
}

static bool pe_has(const char *name)
{
	return of_find_property(&pe.node, name, NULL);
}

/* A PE whose default window is in the device tree as @name */
static void pe_make_window(struct kunit *test, const char *name, u32 liobn, u32 start, u32 size)
{
	static const __be32 cells = cpu_to_be32(2);
	static const __be32 tokens[] = { cpu_to_be32(1), cpu_to_be32(2), cpu_to_be32(3) };
	static const __be32 extensions[] = { cpu_to_be32(1), cpu_to_be32(4) };

	memset(&pe, 0, sizeof(pe));
	of_node_init(&pe.node);
	pe.node.full_name = "kunit";
	pe_property(test, "ibm,#dma-address-cells", &cells, sizeof(cells));
	pe_property(test, "ibm,#dma-size-cells", &cells, sizeof(cells));
	pe_property(test, "ibm,ddw-applicable", tokens, sizeof(tokens));
	pe_property(test, "ibm,ddw-extensions", extensions, sizeof(extensions));
	pe.window[0] = cpu_to_be32(liobn);
	pe.window[2] = cpu_to_be32(start);
	pe.window[4] = cpu_to_be32(size);
	pe_property(test, name, pe.window, sizeof(pe.window));
	pe.pdev.dev.of_node = &pe.node;
	pe.pdev.bus = &pe.bus;
	set_dev_node(&pe.pdev.dev, NUMA_NO_NODE);
	/* The group has a user, as VFIO sees it; without the IOMMU core. */
	pe.group.group = (struct iommu_group *)&pe.bus;
	pe.group.pgsizes = SZ_4K;
}

static void pe_make(struct kunit *test, const char *name)
{
	pe_make_window(test, name, DEFAULT_LIOBN, 0, DEFAULT_ENTRIES << SHIFT);
}

/* The host has a dynamic window, with an entry for all there are. */
static void pe_host_window(struct kunit *test, const char *name)
{
	static const struct dynamic_dma_window_prop prop = {
		.liobn = cpu_to_be32(WINDOW_LIOBN),
		.dma_base = cpu_to_be64(OFFSET << SHIFT),
		.tce_shift = cpu_to_be32(SHIFT),
		.window_shift = cpu_to_be32(SHIFT + 11),
	};

	hv_leave(TCE_PCI_READ);
	pe_property(test, name, &prop, sizeof(prop));
	pe.listed = true;
	pe.direct = true;
}

/* The host's table of a window, which the device uses */
static void pe_host_table(struct kunit *test, unsigned long liobn)
{
	struct iommu_table *tbl = iommu_pseries_alloc_table(NUMA_NO_NODE);

	KUNIT_ASSERT_NOT_NULL(test, tbl);
	iommu_table_setparms_common(tbl, 0, liobn, 0, DEFAULT_ENTRIES << SHIFT, SHIFT, NULL,
				    &host_table_ops);
	KUNIT_ASSERT_NOT_NULL(test, iommu_init_table(tbl, NUMA_NO_NODE, 0, 0));
	pe.group.tables[0] = tbl;
	set_iommu_table_base(&pe.pdev.dev, tbl);
}

/* The user that takes a group gets a default window without the host's TCEs. */
static void taken_empty(struct kunit *test)
{
	struct iommu_table_group *group = &pe.group;
	struct fixture *f = test->priv;
	struct iommu_table *tbl = NULL;
	long ret;

	pe_make_window(test, DEFAULT_WINDOW, WINDOW_LIOBN, OFFSET << SHIFT, ENTRIES << SHIFT);
	pe_host_table(test, WINDOW_LIOBN);
	hv_leave(TCE_PCI_READ | TCE_PCI_WRITE);
	KUNIT_EXPECT_EQ(test, user_take_ownership(group, &pe.pdev.dev), 0L);
	KUNIT_EXPECT_EQ(test, hv_live(), 0U);

	/* A device that is added later takes nothing away. */
	ret = user_create_table(group, 0, SHIFT, (u64)ENTRIES << SHIFT, 1, f->mm, &tbl);
	KUNIT_ASSERT_EQ(test, ret, 0L);
	KUNIT_EXPECT_EQ(test, user_set_window(group, 0, tbl), 0L);
	hv_leave(TCE_PCI_READ);
	KUNIT_EXPECT_EQ(test, user_take_ownership(group, &pe.pdev.dev), 0L);
	KUNIT_EXPECT_EQ(test, hv_live(), ENTRIES);
	KUNIT_EXPECT_EQ(test, user_unset_window(group, 0), 0L);
	iommu_tce_table_put(tbl);

	/* What stays usable is nobody's. */
	pe_host_table(test, WINDOW_LIOBN);
	hv_fail(700, H_HARDWARE, ALWAYS);
	KUNIT_EXPECT_EQ(test, user_take_ownership(group, &pe.pdev.dev), (long)-EIO);
	host_table_put(group, 0);
	hv_leave(0);
}

/* The group has a table when it is set, not when it is made: until then it can be prepared. */
static void published_when_set(struct kunit *test)
{
	struct iommu_table_group *group = &pe.group;
	struct fixture *f = test->priv;
	struct iommu_table *tbl = NULL;
	long ret;

	pe_make_window(test, DEFAULT_WINDOW, WINDOW_LIOBN, OFFSET << SHIFT, ENTRIES << SHIFT);
	ret = user_create_table(group, 0, SHIFT, (u64)ENTRIES << SHIFT, 1, f->mm, &tbl);
	KUNIT_ASSERT_EQ(test, ret, 0L);
	KUNIT_EXPECT_NULL(test, group->tables[0]);
	KUNIT_EXPECT_EQ(test, kref_read(&tbl->it_kref), 1U);
	KUNIT_EXPECT_EQ(test, user_set_window(group, 0, tbl), 0L);
	KUNIT_EXPECT_PTR_EQ(test, group->tables[0], tbl);
	KUNIT_EXPECT_EQ(test, user_unset_window(group, 0), 0L);
	KUNIT_EXPECT_NULL(test, group->tables[0]);
	KUNIT_EXPECT_EQ(test, kref_read(&tbl->it_kref), 1U);
	iommu_tce_table_put(tbl);
}

/* A window that is closed while entries are refused: its end holds nothing for longer. */
static void closed_refused(struct kunit *test)
{
	struct iommu_table_group *group = &pe.group;
	struct iommu_table *tbl = NULL, *own;
	struct fixture *f = test->priv;
	unsigned long done;
	long ret;

	pe_make_window(test, DEFAULT_WINDOW, WINDOW_LIOBN, OFFSET << SHIFT, ENTRIES << SHIFT);
	ret = user_create_table(group, 0, SHIFT, (u64)ENTRIES << SHIFT, 1, f->mm, &tbl);
	KUNIT_ASSERT_EQ(test, ret, 0L);
	if (kind_of(test)->pins)
		iommu_user_pins_init(tbl, false);
	KUNIT_EXPECT_EQ(test, user_set_window(group, 0, tbl), 0L);
	own = f->tbl;
	f->tbl = tbl;
	KUNIT_EXPECT_EQ(test, map(f, 30, 40, ua_of(f, 16), &done), 0);
	hv_fail(50, H_HARDWARE, ALWAYS);
	KUNIT_EXPECT_EQ(test, unmap(f, 0, ENTRIES), 39L);
	KUNIT_EXPECT_EQ(test, held(f), 1L);
	/* Now it obeys. */
	hv_fail(0, 0, 0);
	KUNIT_EXPECT_EQ(test, user_unset_window(group, 0), 0L);
	KUNIT_EXPECT_EQ(test, held(f), 0L);
	KUNIT_EXPECT_EQ(test, hv_live(), 0U);
	f->tbl = own;
	model_set(f, 0, ENTRIES, 0);
	iommu_tce_table_put(tbl);
}

static long take(void)
{
	pe.cleared = 0;
	return user_take_ownership(&pe.group, &pe.pdev.dev);
}

/* Back with the host, whose device has the default window's table */
static void expect_returned(struct kunit *test)
{
	struct iommu_table *tbl;

	user_release_ownership(&pe.group, &pe.pdev.dev);
	tbl = pe.group.tables[0];
	KUNIT_ASSERT_NOT_NULL(test, tbl);
	KUNIT_EXPECT_EQ(test, tbl->it_index, DEFAULT_LIOBN);
	KUNIT_EXPECT_PTR_EQ(test, get_iommu_table_base(&pe.pdev.dev), (void *)tbl);
	KUNIT_EXPECT_PTR_EQ(test, pe.group.tables[1], NULL);
	KUNIT_EXPECT_FALSE(test, pe.group.default_replaced);
	host_table_put(&pe.group, 0);
	hv_leave(0);
}

/* After kexec the host's list calls each window dynamic, also one that maps all memory. */
static void taken_after_kexec(struct kunit *test)
{
	static const char *const names[] = { DIRECT64_PROPNAME, DMA64_PROPNAME };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		pe_make(test, DEFAULT_WINDOW);
		pe_host_window(test, names[i]);
		pe.direct = false;
		pe_host_table(test, DEFAULT_LIOBN);
		KUNIT_EXPECT_EQ(test, take(), 0L);
		KUNIT_EXPECT_FALSE(test, pe_has(names[i]));
		KUNIT_EXPECT_EQ(test, hv_live(), 0U);
		KUNIT_EXPECT_EQ(test, pe.removes, 1U);
		KUNIT_EXPECT_FALSE(test, pe.listed);
		KUNIT_EXPECT_EQ(test, pe.cleared, (unsigned long)DEFAULT_ENTRIES);
		KUNIT_EXPECT_PTR_EQ(test, pe.group.tables[0], NULL);
		KUNIT_EXPECT_PTR_EQ(test, get_iommu_table_base(&pe.pdev.dev), NULL);
		/* Windows that the tree does not tell of, too */
		KUNIT_EXPECT_GE(test, pe.resets, 1U);
		expect_returned(test);
	}
}

/* A user gets no device that reaches a window of the host's. */
static void take_refused(struct kunit *test)
{
	struct iommu_table *tbl;

	pe_make(test, DEFAULT_WINDOW);
	pe_host_window(test, DIRECT64_PROPNAME);
	pe_host_table(test, DEFAULT_LIOBN);
	tbl = pe.group.tables[0];

	/* Neither cleared nor removed nor reset */
	hv_fail(700, H_HARDWARE, ALWAYS);
	hv.restores = false;
	pe.removed = -1;
	pe.reset = -3;
	KUNIT_EXPECT_EQ(test, take(), (long)-EIO);
	KUNIT_EXPECT_TRUE(test, pe_has(DIRECT64_PROPNAME));
	KUNIT_EXPECT_TRUE(test, pe.listed);
	KUNIT_EXPECT_FALSE(test, pe.direct);	/* It may have lost entries. */
	KUNIT_EXPECT_PTR_EQ(test, pe.group.tables[0], tbl);
	KUNIT_EXPECT_PTR_EQ(test, get_iommu_table_base(&pe.pdev.dev), (void *)tbl);

	/* One of the three is enough. */
	pe.reset = 0;
	KUNIT_EXPECT_EQ(test, take(), 0L);
	KUNIT_EXPECT_FALSE(test, pe_has(DIRECT64_PROPNAME));
	KUNIT_EXPECT_FALSE(test, pe.listed);
	expect_returned(test);

	pe_make(test, DEFAULT_WINDOW);
	pe_host_window(test, DIRECT64_PROPNAME);
	pe_host_table(test, DEFAULT_LIOBN);
	pe.reset = -3;
	KUNIT_EXPECT_EQ(test, take(), 0L);
	KUNIT_EXPECT_FALSE(test, pe_has(DIRECT64_PROPNAME));
	expect_returned(test);

	hv_fail(0, 0, 0);
	pe_make(test, DEFAULT_WINDOW);
	pe_host_window(test, DIRECT64_PROPNAME);
	pe_host_table(test, DEFAULT_LIOBN);
	pe.removed = -1;
	pe.reset = -3;
	KUNIT_EXPECT_EQ(test, take(), 0L);
	KUNIT_EXPECT_FALSE(test, pe_has(DIRECT64_PROPNAME));
	KUNIT_EXPECT_EQ(test, hv_live(), 0U);
	expect_returned(test);
}

/* The default window had made way for the host's; then it cannot be cleared. */
static void take_half_way(struct kunit *test)
{
	struct property *prop;

	pe_make(test, DEFAULT_WINDOW_SAVED);
	pe_host_window(test, DMA64_PROPNAME);
	pe_host_table(test, WINDOW_LIOBN);
	pe.rc = H_HARDWARE;
	pe.times = ALWAYS;
	KUNIT_EXPECT_EQ(test, take(), (long)-EIO);
	/* The host's driver gets the default window's table. */
	KUNIT_EXPECT_FALSE(test, pe_has(DMA64_PROPNAME));
	KUNIT_ASSERT_TRUE(test, pe_has(DEFAULT_WINDOW));
	KUNIT_ASSERT_NOT_NULL(test, pe.group.tables[0]);
	KUNIT_EXPECT_EQ(test, pe.group.tables[0]->it_index, DEFAULT_LIOBN);
	KUNIT_EXPECT_PTR_EQ(test, get_iommu_table_base(&pe.pdev.dev),
			    (void *)pe.group.tables[0]);
	expect_returned(test);

	prop = of_find_property(&pe.node, DEFAULT_WINDOW, NULL);
	pe.node.properties = NULL;
	kfree(prop->name);
	kfree(prop->value);
	kfree(prop);
}

/* Busy is no error. */
static void take_busy(struct kunit *test)
{
	static const long rc[] = { H_BUSY, H_LONG_BUSY_ORDER_1_MSEC, H_LONG_BUSY_ORDER_100_SEC };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rc); i++) {
		pe_make(test, DEFAULT_WINDOW);
		pe_host_table(test, DEFAULT_LIOBN);
		pe.rc = rc[i];
		pe.times = 3;
		KUNIT_EXPECT_EQ(test, take(), 0L);
		KUNIT_EXPECT_EQ(test, pe.times, 0U);
		KUNIT_EXPECT_EQ(test, pe.cleared, (unsigned long)DEFAULT_ENTRIES);
		KUNIT_EXPECT_PTR_EQ(test, pe.group.tables[0], NULL);
		expect_returned(test);
	}
}

/* A query that fails does not bar windows from the next user. */
static void query_fails(struct kunit *test)
{
	pe_make(test, DEFAULT_WINDOW);
	pe_host_table(test, DEFAULT_LIOBN);
	pe.queried = -1;
	KUNIT_EXPECT_EQ(test, take(), 0L);
	KUNIT_EXPECT_EQ(test, pe.group.max_dynamic_windows_supported, 0U);
	KUNIT_EXPECT_EQ(test, pe.group.tce32_size, DEFAULT_ENTRIES << SHIFT);
	user_release_ownership(&pe.group, &pe.pdev.dev);
	pe.queried = 0;
	KUNIT_EXPECT_EQ(test, take(), 0L);
	KUNIT_EXPECT_EQ(test, pe.group.max_dynamic_windows_supported, 2U);
	KUNIT_EXPECT_EQ(test, pe.group.pgsizes, (u64)(SZ_4K | SZ_64K));
	expect_returned(test);
}

static int open_window(struct user_window *w)
{
	int ret;

	mutex_lock(&dma_win_init_mutex);
	ret = window_open(w, &pe.pdev, 0);
	mutex_unlock(&dma_win_init_mutex);
	return ret;
}

static void close_window(struct user_window *w)
{
	mutex_lock(&dma_win_init_mutex);
	window_close(w);
	mutex_unlock(&dma_win_init_mutex);
}

/* A user's window takes the default one's place: a kernel that is loaded then finds that. */
static void replaced(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct user_window *w = to_window(f->tbl);

	pe_make(test, DEFAULT_WINDOW);
	w->group = &pe.group;
	w->pdn = of_node_get(&pe.node);

	/* Not if the default one stays */
	pe.removed = -1;
	KUNIT_EXPECT_EQ(test, open_window(w), -EIO);
	KUNIT_EXPECT_FALSE(test, w->open);
	KUNIT_EXPECT_FALSE(test, pe.group.default_replaced);

	pe.removed = 0;
	KUNIT_ASSERT_EQ(test, open_window(w), 0);
	KUNIT_EXPECT_TRUE(test, w->dynamic);
	KUNIT_EXPECT_TRUE(test, pe_has(DEFAULT_WINDOW));
	KUNIT_EXPECT_TRUE(test, pe.group.default_replaced);
	KUNIT_EXPECT_EQ(test, pe.resets, 0U);
	close_window(w);
	KUNIT_EXPECT_EQ(test, pe.removes, 3U);

	/* Restored for the next */
	KUNIT_ASSERT_EQ(test, open_window(w), 0);
	KUNIT_EXPECT_EQ(test, pe.resets, 1U);
	close_window(w);
	expect_returned(test);
	KUNIT_EXPECT_EQ(test, pe.resets, 2U);
}

/* What a window may lead to stays held while the window may be there. */
static void close_not_removed(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct user_window *w = to_window(f->tbl);
	unsigned long done;

	pe_make(test, DEFAULT_WINDOW);
	w->group = &pe.group;
	w->pdn = of_node_get(&pe.node);
	KUNIT_ASSERT_EQ(test, open_window(w), 0);
	KUNIT_EXPECT_EQ(test, map(f, 30, 400, ua_of(f, 16), &done), 0);
	hv_fail(131, H_HARDWARE, ALWAYS);
	hv.restores = false;
	KUNIT_EXPECT_EQ(test, unmap(f, 0, ENTRIES), 399L);
	model_set(f, 30, 101, 0);
	model_set(f, 132, 298, 0);
	pe.removed = -1;
	close_window(w);
	expect_model(test, "neither cleared nor removed");

	/* Cleared at last */
	pe.removed = 0;
	KUNIT_ASSERT_EQ(test, open_window(w), 0);
	hv_fail(0, 0, 0);
	pe.removed = -1;
	close_window(w);
	model_set(f, 131, 1, 0);
	expect_model(test, "cleared");
	mutex_lock(&dma_win_init_mutex);
	windows_reset(&pe.group, &pe.pdev, &pe.node);
	mutex_unlock(&dma_win_init_mutex);
}

static struct kunit_case window_cases[] = {
	KUNIT_CASE_PARAM(calls, kind_gen_params),
	KUNIT_CASE_PARAM(refused, kind_gen_params),
	KUNIT_CASE_PARAM(not_restored, kind_gen_params),
	KUNIT_CASE_PARAM(unknown_state, kind_gen_params),
	KUNIT_CASE_PARAM(hopeless, kind_gen_params),
	KUNIT_CASE_PARAM(busy, kind_gen_params),
	KUNIT_CASE_PARAM(lists, kind_gen_params),
	KUNIT_CASE_PARAM(tries, kind_gen_params),
	KUNIT_CASE_PARAM(forgotten, kind_gen_params),
	KUNIT_CASE_PARAM(left_over, kind_gen_params),
	KUNIT_CASE_PARAM(taken_empty, kind_gen_params),
	KUNIT_CASE_PARAM(published_when_set, kind_gen_params),
	KUNIT_CASE_PARAM(closed_refused, kind_gen_params),
	KUNIT_CASE(taken_after_kexec),
	KUNIT_CASE(take_refused),
	KUNIT_CASE(take_half_way),
	KUNIT_CASE(take_busy),
	KUNIT_CASE(query_fails),
	KUNIT_CASE_PARAM(replaced, kind_gen_params),
	KUNIT_CASE_PARAM(close_not_removed, kind_gen_params),
	{}
};

static struct kunit_suite window_suite = {
	.name = "pseries_iommu_user",
	.init = window_test_init,
	.exit = window_test_exit,
	.test_cases = window_cases,
};

kunit_test_suite(window_suite);

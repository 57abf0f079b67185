// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tests of user-owned TCE entries, on a real mm and a table of their own.
 *
 * The fake device has a TCE cache that forgets nothing until it is told: translations
 * that are there, and those that are not, stay in cache[] until tce_kill. So a missing
 * or late invalidation is a stale answer of dev_read(). Whenever something is about to
 * be invalidated, and at the end, every page that the cache still leads to must be held
 * by the region's @mapped or by a pin: expect_held(). That is the protocol's invariant, as
 * a device sees it.
 *
 * struct fixture's ua[] is the model: what each entry must lead to. expect_model() holds
 * TCEs, view words, the device and all counts against it. Host addresses come
 * from get_user_pages().
 */
#include <kunit/test.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <asm/mm_iommu.h>
#include "../../mm/book3s64/mm_iommu_core.h"
#include "../../mm/book3s64/tests/iommu_kunit.h"
#include "../iommu_user_lines.h"
#include "iommu_user_try_kunit.h"

#define P		PAGE_SIZE
#define RW		(TCE_PCI_READ | TCE_PCI_WRITE)
#define ENTRIES		2048U		/* four leaves of two levels */
#define OFFSET		0x80000UL	/* of the window, in entries */
#define REGIONS		6U
#define REGION_PAGES	96U		/* scattered, and more than a radix chunk */
#define MANY		72U		/* regions instead, more than a gather has room for */
#define NOT_CACHED	1UL		/* no TCE looks like that */

struct fixture {
	struct mm_struct *mm;
	struct iommu_table *tbl;
	struct rnd_state rnd;
	unsigned long base;		/* user memory: regions in a row */
	unsigned int regions, region_pages;
	struct mm_iommu_region *mem[MANY];
	unsigned long pages;
	unsigned long *hpa;		/* of each page, from gup */
	long pins;			/* before the case */
	struct iommu_user_gather g;
	/* model */
	unsigned long ua[ENTRIES];	/* 0: clear */
	bool ro[ENTRIES];
};

/* The device; there is one at a time. Written with the MMU off, too. */
static unsigned long cache[ENTRIES];
static unsigned int kills, killed_entries;
static struct kunit *kill_test;		/* check what is held at each kill */

static void cache_drop(unsigned long index, unsigned long pages)
{
	unsigned long i;

	kills++;
	killed_entries += pages;
	for (i = index - OFFSET; i < index - OFFSET + pages; i++)
		cache[i] = NOT_CACHED;
}

static void expect_held(struct kunit *test);

static void fake_kill(struct iommu_table *tbl, unsigned long index, unsigned long pages)
{
	if (kill_test)
		expect_held(kill_test);
	cache_drop(index, pages);
}

static void fake_kill_rm(struct iommu_table *tbl, unsigned long index,
			 unsigned long pages)
{
	cache_drop(index, pages);
}

static struct iommu_table_ops fake_ops = {
	.tce_kill = fake_kill,
	.tce_kill_rm = fake_kill_rm,
	.free = iommu_levels_destroy,
};

static unsigned long tce_at(struct iommu_table *tbl, unsigned long i, u64 *word)
{
	struct iommu_span span;
	unsigned long tce;

	rcu_read_lock();
	iommu_levels_walk(tbl, i, &span);
	tce = span.tce ? be64_to_cpu(READ_ONCE(*span.tce)) : 0;
	*word = span.view ? READ_ONCE(*span.view) : 0;
	rcu_read_unlock();
	return tce;
}

static unsigned long dev_read(struct iommu_table *tbl, unsigned long i)
{
	u64 word;

	if (cache[i] == NOT_CACHED)
		cache[i] = tce_at(tbl, i, &word);
	return cache[i];
}

static void dev_read_all(struct iommu_table *tbl)
{
	unsigned int i;

	for (i = 0; i < ENTRIES; i++)
		dev_read(tbl, i);
}

/* ---- what is held ---- */

static long mapped(struct fixture *f, unsigned int region)
{
	return atomic64_read(&f->mem[region]->mapped) - 1;
}

/* Page of our memory at @hpa, or -1 */
static long page_of(struct fixture *f, unsigned long hpa)
{
	unsigned long i;

	for (i = 0; i < f->pages; i++)
		if (f->hpa[i] == (hpa & PAGE_MASK))
			return i;
	return -1;
}

static long page_pins(unsigned long hpa)
{
	return folio_ref_count(page_folio(pfn_to_page(hpa >> PAGE_SHIFT))) /
	       GUP_PIN_COUNTING_BIAS;
}

/* The invariant: what the device may still reach is held. */
static void expect_held(struct kunit *test)
{
	struct fixture *f = test->priv;
	long reached[MANY] = {}, page;
	unsigned int i;

	for (i = 0; i < ENTRIES; i++) {
		if (cache[i] == NOT_CACHED || !(cache[i] & RW))
			continue;
		page = page_of(f, cache[i]);
		KUNIT_EXPECT_GE(test, page, 0L);
		if (page < 0)
			continue;
		if (f->tbl->it_pins)
			KUNIT_EXPECT_GE(test, page_pins(f->hpa[page]), 1L);
		else
			reached[page / f->region_pages]++;
	}
	for (i = 0; i < f->regions && !f->tbl->it_pins; i++)
		KUNIT_EXPECT_GE_MSG(test, mapped(f, i), reached[i], "region %u", i);
}

/* Table, view, device and counts are just what the model says. */
static void expect_model_at(struct kunit *test, int line)
{
	struct fixture *f = test->priv;
	unsigned int shift = f->tbl->it_page_shift, i;
	unsigned long per = shift < PAGE_SHIFT ? 1 : BIT(shift - PAGE_SHIFT);
	long live[MANY] = {}, pins = 0, wrong = 0;
	unsigned long tce, want, off;
	u64 word, view;

	for (i = 0; i < ENTRIES; i++) {
		tce = tce_at(f->tbl, i, &word);
		want = 0;
		view = 0;
		if (f->ua[i]) {
			off = f->ua[i] - f->base;
			want = f->hpa[off >> PAGE_SHIFT] | (off & ~PAGE_MASK) |
			       (f->ro[i] ? TCE_PCI_READ : RW);
			view = IOMMU_VIEW_LIVE | (f->ro[i] ? 0 : IOMMU_VIEW_WRITE);
			view |= f->tbl->it_pins ? IOMMU_VIEW_PIN | (want & IOMMU_LINK_PA) :
						  f->ua[i];
			live[(off >> PAGE_SHIFT) / f->region_pages]++;
			pins += per;
		}
		if (tce != want || word != view ||
		    dev_read(f->tbl, i) != want) {
			if (!wrong++)
				kunit_err(test, "line %d: entry %u: TCE %lx word %llx device %lx, not %lx %lx",
					  line, i, tce, word, cache[i], want, f->ua[i]);
		}
	}
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0L, "line %d", line);
	if (f->tbl->it_pins) {
		KUNIT_EXPECT_EQ_MSG(test, pins_live() - f->pins, pins, "line %d", line);
		return;
	}
	for (i = 0; i < f->regions; i++)
		KUNIT_EXPECT_EQ_MSG(test, mapped(f, i), live[i], "line %d region %u",
				    line, i);
}

#define expect_model(test)	expect_model_at(test, __LINE__)

/* ---- set-up ---- */

static int table_make_ops(struct kunit *test, unsigned int page_shift, bool pins,
			  struct iommu_table_ops *ops)
{
	struct fixture *f = test->priv;
	struct iommu_table *tbl = kzalloc_obj(*tbl);
	unsigned int i;
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, tbl);
	INIT_LIST_HEAD_RCU(&tbl->it_group_list);
	kref_init(&tbl->it_kref);
	tbl->it_ops = ops;
	tbl->it_page_shift = page_shift;
	tbl->it_offset = OFFSET;
	tbl->it_size = ENTRIES;
	if (pins)
		iommu_user_pins_init(tbl, false);
	ret = iommu_levels_init(tbl, NUMA_NO_NODE, 2, 9, ops == &fake_ops, f->mm);
	if (ret) {
		kfree(tbl);
		return ret;
	}
	f->tbl = tbl;
	for (i = 0; i < ENTRIES; i++)
		cache[i] = NOT_CACHED;
	kills = 0;
	killed_entries = 0;
	return 0;
}

static int table_make(struct kunit *test, unsigned int page_shift, bool pins)
{
	return table_make_ops(test, page_shift, pins, &fake_ops);
}

/* Neighbours of scattered pages; registered unless pins are tested */
static void memory_make(struct kunit *test, bool reg)
{
	struct fixture *f = test->priv;
	struct vm_area_struct *vma;
	unsigned long i, j, ua;
	struct page *page;

	f->pages = f->regions * f->region_pages;
	ua = kunit_vm_mmap(test, NULL, 0, (f->pages + 1) * P + BIT(PMD_SHIFT),
			   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL((void *)ua));
	f->base = ALIGN(ua, BIT(PMD_SHIFT));
	mmap_write_lock(f->mm);
	vma = vma_lookup(f->mm, f->base);
	if (vma)
		vm_flags_set(vma, VM_NOHUGEPAGE);
	mmap_write_unlock(f->mm);

	f->hpa = kunit_kcalloc(test, f->pages, sizeof(*f->hpa), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->hpa);
	/* 5 and the count have no common divisor: each page once, few neighbours */
	for (i = 0; i < f->pages; i++) {
		j = i * 5 % f->pages;
		KUNIT_ASSERT_EQ(test, put_user((u8)1, (u8 __user *)(f->base + j * P)), 0);
		KUNIT_ASSERT_EQ(test, get_user_pages_fast(f->base + j * P, 1, 0, &page), 1);
		f->hpa[j] = page_to_phys(page);
		put_page(page);
	}
	for (i = 0; reg && i < f->regions; i++)
		KUNIT_ASSERT_EQ(test,
				mm_iommu_register(f->mm, f->base + i * f->region_pages * P,
						  f->region_pages * P, &f->mem[i]), 0);
}

static int iommu_user_test_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->mm = own_mm(test);
	f->regions = REGIONS;
	f->region_pages = REGION_PAGES;
	f->pins = pins_live();
	prandom_seed_state(&f->rnd, 20251121);
	kill_test = test;
	test->priv = f;
	return 0;
}

static long pin_room(struct fixture *f)
{
	return atomic_long_read(&f->tbl->it_pin_room);
}

/* Pages that VFIO's ENABLE is good for: the window, and as much again for what is shifted */
static long pins_window(struct fixture *f)
{
	return 2 * ((ENTRIES << f->tbl->it_page_shift) >> PAGE_SHIFT);
}

/* Nothing mapped, nothing pinned, nothing charged is left, whatever the case did. */
static void iommu_user_test_exit(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int i;

	if (!f)
		return;
	if (f->tbl) {
		iommu_user_begin(&f->g, f->tbl, false);
		iommu_user_unmap(&f->g, OFFSET, ENTRIES);
		iommu_user_finish(&f->g);
		memset(f->ua, 0, sizeof(f->ua));
		if (f->tbl->it_view_off && (f->tbl->it_pins || f->mem[f->regions - 1]))
			expect_model(test);
		if (f->tbl->it_pins) {
			iommu_user_pins_uncharge(f->tbl);
			KUNIT_EXPECT_EQ(test, pin_room(f), pins_window(f));
		}
		iommu_tce_table_put(f->tbl);
	}
	kill_test = NULL;
	for (i = 0; i < f->regions; i++) {
		if (!f->mem[i])
			continue;
		KUNIT_EXPECT_EQ(test, mapped(f, i), 0L);
		atomic64_set(&f->mem[i]->mapped, 1);
		mm_iommu_unregister(f->mm, f->mem[i]);
	}
	mm_iommu_drain(f->mm);
	KUNIT_EXPECT_EQ(test, pins_live(), f->pins);
	KUNIT_EXPECT_EQ(test, f->mm->locked_vm, 0UL);
	mmdrop(f->mm);
	test->priv = NULL;
}

static unsigned long ua_of(struct fixture *f, unsigned long page)
{
	return f->base + page * P;
}

static void model_set(struct fixture *f, unsigned long i, unsigned long n,
		      unsigned long ua, bool ro)
{
	for (; n; n--, i++) {
		f->ua[i] = ua;
		f->ro[i] = ro;
		if (ua)
			ua += BIT(f->tbl->it_page_shift);
	}
}

/* As a caller does it: all or nothing */
static int map_range(struct fixture *f, unsigned long i, unsigned long n,
		     unsigned long ua, enum dma_data_direction dir)
{
	unsigned long done;
	int ret;

	iommu_user_begin(&f->g, f->tbl, false);
	ret = iommu_user_map(&f->g, OFFSET + i, n, ua, dir, &done);
	if (ret)
		iommu_user_unmap(&f->g, OFFSET + i, done);
	iommu_user_finish(&f->g);
	model_set(f, i, ret ? done : n, ret ? 0 : ua, dir == DMA_TO_DEVICE);
	return ret;
}

static long unmap_range(struct fixture *f, unsigned long i, unsigned long n)
{
	long live;

	iommu_user_begin(&f->g, f->tbl, false);
	live = iommu_user_unmap(&f->g, OFFSET + i, n);
	iommu_user_finish(&f->g);
	model_set(f, i, n, 0, false);
	return live;
}

/* Tables of v2 and v1, with IOMMU pages as large as ours and smaller */
static const struct kind {
	const char *name;
	unsigned int shift;
	bool pins;
} kinds[] = {
	{ "regions", PAGE_SHIFT, false },
	{ "regions, 4K", 12, false },
	{ "pins", PAGE_SHIFT, true },
	{ "pins, 4K", 12, true },
};

KUNIT_ARRAY_PARAM_DESC(kind, kinds, name);

static struct fixture *kind_make(struct kunit *test)
{
	const struct kind *k = test->param_value;

	memory_make(test, !k->pins);
	KUNIT_ASSERT_EQ(test, table_make(test, k->shift, k->pins), 0);
	return test->priv;
}

/* ---- cases ---- */

/* Reference, entry, invalidation, drop: looked at after each step. */
static void order(struct kunit *test)
{
	struct fixture *f = test->priv;
	u64 word;

	memory_make(test, true);
	KUNIT_ASSERT_EQ(test, table_make(test, PAGE_SHIFT, false), 0);
	KUNIT_ASSERT_EQ(test, map_range(f, 3, 1, ua_of(f, 7), DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;
	killed_entries = 0;

	iommu_user_begin(&f->g, f->tbl, false);
	iommu_user_enter();
	KUNIT_EXPECT_EQ(test, iommu_user_try_map(&f->g, OFFSET + 3, 1,
						 ua_of(f, REGION_PAGES), DMA_TO_DEVICE), 0);
	iommu_user_leave();
	KUNIT_EXPECT_EQ(test, f->g.done, 1UL);
	KUNIT_EXPECT_EQ(test, f->g.live, 1UL);
	KUNIT_EXPECT_EQ(test, tce_at(f->tbl, 3, &word), f->hpa[REGION_PAGES] | TCE_PCI_READ);
	KUNIT_EXPECT_EQ(test, word, ua_of(f, REGION_PAGES) | IOMMU_VIEW_LIVE);
	/* The device has not heard of it: both are held. */
	KUNIT_EXPECT_EQ(test, kills, 0U);
	KUNIT_EXPECT_EQ(test, dev_read(f->tbl, 3), f->hpa[7] | RW);
	KUNIT_EXPECT_EQ(test, mapped(f, 0), 1L);
	KUNIT_EXPECT_EQ(test, mapped(f, 1), 1L);

	iommu_user_finish(&f->g);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	KUNIT_EXPECT_EQ(test, killed_entries, 1U);
	model_set(f, 3, 1, ua_of(f, REGION_PAGES), true);
	expect_model(test);

	/* Not set after all: no level there */
	iommu_user_begin(&f->g, f->tbl, false);
	iommu_user_enter();
	KUNIT_EXPECT_EQ(test, iommu_user_try_map(&f->g, OFFSET + 510, 4, ua_of(f, 5),
						 DMA_BIDIRECTIONAL), -ENOENT);
	iommu_user_leave();
	KUNIT_EXPECT_EQ(test, f->g.done, 2UL);
	iommu_user_finish(&f->g);
	model_set(f, 510, 2, ua_of(f, 5), false);
	expect_model(test);
}

/* Ranges over leaves and regions, replaced in other cuts, unmapped in others again. */
static void ranges(struct kunit *test)
{
	struct fixture *f = kind_make(test);
	unsigned int shift = f->tbl->it_page_shift, n;

	n = min_t(unsigned long, (f->pages * P) >> shift, ENTRIES - 300);
	KUNIT_EXPECT_EQ(test, map_range(f, 250, n, f->base, DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	KUNIT_EXPECT_EQ(test, map_range(f, 200, n - 100, ua_of(f, 5), DMA_TO_DEVICE), 0);
	expect_model(test);
	KUNIT_EXPECT_EQ(test, map_range(f, 240, 33, ua_of(f, 90), DMA_FROM_DEVICE), 0);
	expect_model(test);
	kills = 0;
	/* 200 to 249 + n are live; nothing else is. */
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, 300), 100L);
	expect_model(test);
	KUNIT_EXPECT_EQ(test, unmap_range(f, 299, ENTRIES - 299), (long)n - 50);
	expect_model(test);
	KUNIT_EXPECT_GT(test, kills, 1U);
	/* Nothing there: not an error, and nothing to invalidate */
	kills = 0;
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), 0L);
	KUNIT_EXPECT_EQ(test, kills, 0U);
	expect_model(test);
}

/* One invalidation for a range, however long, that goes into the gather as one run. */
static void one_kill(struct kunit *test)
{
	struct fixture *f = test->priv;

	memory_make(test, true);
	KUNIT_ASSERT_EQ(test, table_make(test, PAGE_SHIFT, false), 0);
	KUNIT_EXPECT_EQ(test, map_range(f, 100, f->pages, f->base, DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	KUNIT_EXPECT_EQ(test, map_range(f, 100, f->pages, f->base, DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, kills, 2U);
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), (long)f->pages);
	KUNIT_EXPECT_EQ(test, kills, 3U);
	KUNIT_EXPECT_EQ(test, killed_entries, 3 * (unsigned int)f->pages);
	expect_model(test);
}

/*
 * Old entries of which no two follow each other. What they hold of a region is one run,
 * so there is one invalidation; with pins, every flush invalidates before it drops.
 */
static void scattered(struct kunit *test)
{
	struct fixture *f = kind_make(test);
	unsigned int i, n = 5 * IOMMU_USER_HELD + 3;

	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ(test, map_range(f, i, 1, ua_of(f, 500 - 3 * i),
						DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;
	KUNIT_EXPECT_EQ(test, map_range(f, 0, n, ua_of(f, 10), DMA_TO_DEVICE), 0);
	if (f->tbl->it_pins)
		KUNIT_EXPECT_GE(test, kills, 5U);
	else
		KUNIT_EXPECT_EQ(test, kills, 1U);
	expect_model(test);
	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ(test, map_range(f, i, 1, ua_of(f, 500 - 3 * i),
						DMA_BIDIRECTIONAL), 0);
	kills = 0;
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), (long)n);
	if (!f->tbl->it_pins)
		KUNIT_EXPECT_EQ(test, kills, 1U);
	expect_model(test);
}

/* Old entries of more regions than a gather has room for: flushed in between. */
static void gather_overflow(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int i, n = 4 * MANY + 7;

	f->regions = MANY;
	f->region_pages = 8;
	memory_make(test, true);
	KUNIT_ASSERT_EQ(test, table_make(test, PAGE_SHIFT, false), 0);
	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ(test, map_range(f, i, 1, ua_of(f, i * 83 % f->pages),
						DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;
	KUNIT_EXPECT_EQ(test, map_range(f, 0, n, ua_of(f, 10), DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_GT(test, kills, MANY / IOMMU_USER_HELD);
	expect_model(test);
	/* In a row, over many regions */
	kills = 0;
	KUNIT_EXPECT_EQ(test, map_range(f, 0, n, ua_of(f, 100), DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_GE(test, kills, n / 8 / IOMMU_USER_HELD);
	expect_model(test);
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), (long)n);
	expect_model(test);
}

/* A map that fails half way is told how far it came, and leaves nothing of it. */
static void half_failed(struct kunit *test)
{
	struct fixture *f = kind_make(test);
	unsigned int shift = f->tbl->it_page_shift;
	unsigned long tail = (3 * P) >> shift, done, limit;

	KUNIT_EXPECT_EQ(test, map_range(f, 505, 2 * tail, f->base, DMA_TO_DEVICE), 0);
	/* The three last pages, and what is behind them: nothing */
	KUNIT_ASSERT_EQ(test, vm_munmap(ua_of(f, f->pages), P), 0);
	KUNIT_EXPECT_EQ(test, map_range(f, 508, 2 * tail, ua_of(f, f->pages - 3),
					DMA_BIDIRECTIONAL), -EFAULT);
	expect_model(test);
	KUNIT_EXPECT_EQ(test, map_range(f, 508, 1, ua_of(f, f->pages), DMA_BIDIRECTIONAL),
			-EFAULT);
	expect_model(test);

	/* No charge left for the next leaf, entry 1024 on */
	limit = rlimit(RLIMIT_MEMLOCK);
	current->signal->rlim[RLIMIT_MEMLOCK].rlim_cur = f->mm->locked_vm << PAGE_SHIFT;
	iommu_user_begin(&f->g, f->tbl, false);
	if (capable(CAP_IPC_LOCK)) {
		/* A kernel thread may charge what it likes: stop it another way. */
		f->tbl->it_revoked = true;
		KUNIT_EXPECT_EQ(test, iommu_user_map(&f->g, OFFSET + 1020, 8, f->base,
						     DMA_BIDIRECTIONAL, &done), -ENODEV);
		f->tbl->it_revoked = false;
		KUNIT_EXPECT_EQ(test, done, 0UL);
	} else {
		KUNIT_EXPECT_EQ(test, iommu_user_map(&f->g, OFFSET + 1020, 8, f->base,
						     DMA_BIDIRECTIONAL, &done), -ENOMEM);
		KUNIT_EXPECT_LE(test, done, 4UL);
	}
	iommu_user_unmap(&f->g, OFFSET + 1020, done);
	iommu_user_finish(&f->g);
	current->signal->rlim[RLIMIT_MEMLOCK].rlim_cur = limit;
	expect_model(test);

	KUNIT_EXPECT_EQ(test, map_range(f, 1020, 8, f->base + BIT(shift) / 2,
					DMA_BIDIRECTIONAL), -EINVAL);
	expect_model(test);
}

/* An IOMMU page larger than what is contiguous: refused, and no pin is lost. */
static void too_scattered(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int i;

	memory_make(test, false);
	for (i = 0; i < 2; i++) {
		if (!i)
			KUNIT_ASSERT_EQ(test, mm_iommu_register(f->mm, f->base,
								REGION_PAGES * P,
								&f->mem[0]), 0);
		KUNIT_ASSERT_EQ(test, table_make(test, PAGE_SHIFT + 2, i), 0);
		KUNIT_EXPECT_EQ(test, map_range(f, 0, 2, f->base, DMA_BIDIRECTIONAL), -EINVAL);
		KUNIT_EXPECT_EQ(test, map_range(f, 0, 1, f->base + P, DMA_BIDIRECTIONAL),
				-EINVAL);
		KUNIT_EXPECT_EQ(test, mapped(f, 0), 0L);
		/* The region has pins of its own. */
		KUNIT_EXPECT_EQ(test, pins_live() - f->pins, (long)REGION_PAGES);
		iommu_tce_table_put(f->tbl);
		f->tbl = NULL;
	}
}

/* v1: what a device may have written to is dirty afterwards, and nothing else. */
static void pins_dirty(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int i;

	memory_make(test, false);
	KUNIT_ASSERT_EQ(test, table_make(test, 12, true), 0);
	KUNIT_EXPECT_EQ(test, map_range(f, 0, 16, f->base, DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, map_range(f, 16, 16, ua_of(f, 20), DMA_FROM_DEVICE), 0);
	expect_model(test);
	for (i = 0; i < 2; i++)
		ClearPageDirty(pfn_to_page(f->hpa[20 * i] >> PAGE_SHIFT));
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, 32), 32L);
	KUNIT_EXPECT_FALSE(test, PageDirty(pfn_to_page(f->hpa[0] >> PAGE_SHIFT)));
	KUNIT_EXPECT_TRUE(test, PageDirty(pfn_to_page(f->hpa[20] >> PAGE_SHIFT)));
}

/*
 * v1: what is pinned beyond the size of the window is charged, up to the limit; what is not
 * is not. An address that leads to another page since is another page.
 */
static void pins_charged(struct kunit *test)
{
	struct rlimit *limit = &current->signal->rlim[RLIMIT_MEMLOCK];
	const unsigned long saved = limit->rlim_cur, per = P >> 12;
	struct fixture *f = test->priv;
	const struct cred *old;
	long was, window;
	unsigned long i;

	if (per == 1)
		kunit_skip(test, "an entry is a page");
	memory_make(test, false);
	KUNIT_ASSERT_EQ(test, table_make(test, 12, true), 0);
	window = pins_window(f);
	old = ipc_lock_drop(test);
	limit->rlim_cur = RLIM_INFINITY;

	/* As much as the window is, shifted or not: nothing more. Its levels are charged. */
	KUNIT_EXPECT_EQ(test, map_range(f, 0, ENTRIES, f->base, DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, pin_room(f), window / 2);
	was = f->mm->locked_vm;
	KUNIT_EXPECT_EQ(test, map_range(f, 0, ENTRIES, f->base + 4096, DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, pin_room(f), 0L);
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), (long)ENTRIES);
	KUNIT_EXPECT_EQ(test, pin_room(f), window);
	KUNIT_EXPECT_EQ(test, (long)f->mm->locked_vm, was);

	/* A page per entry: as many as that is good for, then five more, then no more. */
	limit->rlim_cur = (was + 5) << PAGE_SHIFT;
	for (i = 0; i < window + 5; i++) {
		KUNIT_EXPECT_EQ(test, map_range(f, i, 1, ua_of(f, i), DMA_BIDIRECTIONAL), 0);
		KUNIT_EXPECT_EQ(test, f->mm->locked_vm - was, max(0L, (long)i + 1 - window));
	}
	expect_model(test);
	KUNIT_EXPECT_EQ(test, map_range(f, i, 1, ua_of(f, i), DMA_BIDIRECTIONAL), -ENOMEM);
	/* One that is pinned in the line already, or instead of another, does no harm. */
	KUNIT_EXPECT_EQ(test, map_range(f, i, 1, ua_of(f, i - 1) + 4096, DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, map_range(f, 0, 1, ua_of(f, 500), DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, map_range(f, i, 1, ua_of(f, i), DMA_BIDIRECTIONAL), -ENOMEM);
	expect_model(test);

	/* Two pages have been where one address leads: both count. */
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), (long)i + 1);
	KUNIT_EXPECT_EQ(test, map_range(f, 0, 1, f->base, DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, vm_munmap(f->base, P), 0);
	KUNIT_EXPECT_EQ(test, vm_mmap(NULL, f->base, P, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0), f->base);
	KUNIT_EXPECT_EQ(test, put_user((u8)1, (u8 __user *)f->base), 0);
	kill_test = NULL;
	KUNIT_EXPECT_EQ(test, map_range(f, 1, 1, f->base, DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, pin_room(f), window + 5 - 2);
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, 2), 2L);

	iommu_user_pins_uncharge(f->tbl);
	KUNIT_EXPECT_EQ(test, (long)f->mm->locked_vm, was);
	limit->rlim_cur = saved;
	ipc_lock_back(old);
}

/* Map two pages, of which the second has @room for references, then that one again. */
static void expect_full(struct kunit *test, unsigned int shift, int room, bool first_fits)
{
	struct fixture *f = test->priv;
	struct page *page = pfn_to_page(f->hpa[3] >> PAGE_SHIFT);
	const unsigned long per = P >> shift;
	int more = INT_MAX / 2 - room - page_ref_count(page);

	page_ref_add(page, more);
	/* The first page has room. */
	KUNIT_EXPECT_EQ(test, map_range(f, 0, 2 * per, ua_of(f, 2), DMA_BIDIRECTIONAL),
			first_fits ? 0 : -ENOMEM);
	/* One more each: the pins of the first are in the way. */
	KUNIT_EXPECT_EQ(test, map_range(f, 2 * per, per, ua_of(f, 3), DMA_BIDIRECTIONAL), -ENOMEM);
	page_ref_sub(page, more);
	expect_model(test);
	unmap_range(f, 0, ENTRIES);
	expect_model(test);
}

/*
 * A page whose reference count has no room takes no pin, wherever it is taken: when the page is
 * pinned, for its other entries, and when an entry that a hypervisor did not restore holds it.
 */
static void pins_full(struct kunit *test)
{
	static const unsigned int shifts[] = { 12, PAGE_SHIFT };
	struct fixture *f = test->priv;
	struct page *page;
	unsigned int i;
	int more;

	memory_make(test, false);
	for (i = 0; i < ARRAY_SIZE(shifts); i++) {
		KUNIT_ASSERT_EQ(test, table_make(test, shifts[i], true), 0);
		expect_full(test, shifts[i], 0, false);
		expect_full(test, shifts[i], GUP_PIN_COUNTING_BIAS - 1, false);
		expect_full(test, shifts[i], GUP_PIN_COUNTING_BIAS * (P >> shifts[i]), true);
		iommu_tce_table_put(f->tbl);
		f->tbl = NULL;
	}

	page = pfn_to_page(f->hpa[3] >> PAGE_SHIFT);
	more = INT_MAX / 2 - page_ref_count(page);
	page_ref_add(page, more);
	KUNIT_EXPECT_EQ(test, iommu_user_pin_more(page, 1), 0);
	KUNIT_EXPECT_EQ(test, iommu_user_pin_more(page, 1), -ENOMEM);
	page_ref_sub(page, more);
	unpin_user_page(page);
}

/* Somebody else's mm can't be pinned through a table; nor can a revoked one be set. */
static void refused(struct kunit *test)
{
	struct fixture *f = kind_make(test);
	struct mm_struct *mm = f->tbl->it_mm;

	KUNIT_EXPECT_EQ(test, map_range(f, 0, 4, f->base, DMA_BIDIRECTIONAL), 0);
	if (f->tbl->it_pins) {
		f->tbl->it_mm = &init_mm;
		KUNIT_EXPECT_EQ(test, map_range(f, 9, 4, f->base, DMA_BIDIRECTIONAL),
				-EPERM);
		f->tbl->it_mm = mm;
	}
	iommu_user_revoke(&f->tbl, 1);
	KUNIT_EXPECT_EQ(test, map_range(f, 9, 4, f->base, DMA_BIDIRECTIONAL), -ENODEV);
	/* A leaf that does not exist, too */
	KUNIT_EXPECT_EQ(test, map_range(f, 1500, 4, f->base, DMA_BIDIRECTIONAL), -ENODEV);
	expect_model(test);
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), 4L);
	expect_model(test);
}

/* Thousands of ranges as they come, against the model. */
static void random_ranges(struct kunit *test)
{
	struct fixture *f = kind_make(test);
	unsigned int shift = f->tbl->it_page_shift, round, i, n, at, most;
	long live, want;
	int ret;

	for (round = 0; round < 400 && !test->status; round++) {
		i = prandom_u32_state(&f->rnd) % ENTRIES;
		n = prandom_u32_state(&f->rnd) % (round % 8 ? 40 : 600) + 1;
		n = min(n, ENTRIES - i);
		at = prandom_u32_state(&f->rnd) % ((f->pages * P) >> shift);
		most = ((f->pages * P) >> shift) - at;
		if (round % 3) {
			n = min(n, most);
			ret = map_range(f, i, n, f->base + ((unsigned long)at << shift),
					round % 5 ? DMA_BIDIRECTIONAL : DMA_TO_DEVICE);
			KUNIT_EXPECT_EQ(test, ret, 0);
		} else {
			for (want = 0, most = i; most < i + n; most++)
				want += f->ua[most] != 0;
			live = unmap_range(f, i, n);
			KUNIT_EXPECT_EQ(test, live, want);
		}
		if (round % 8 == 0)
			iommu_levels_reclaim(f->tbl, 0, ENTRIES);
		if (round % 4 == 0)
			expect_model(test);
		dev_read_all(f->tbl);
	}
	expect_model(test);
}

/* ---- threads ---- */

#define THREADS		4
#define CROWD_ROUNDS	10000

struct crowd {
	struct fixture *f;
	atomic_t seed, left, errors, stop;
	struct completion done;
};

/* Everybody on the same few entries, some of them on both sides of a leaf's end. */
static int crowd_thread(void *arg)
{
	struct crowd *c = arg;
	struct fixture *f = c->f;
	unsigned int shift = f->tbl->it_page_shift, i, n, at, round;
	struct iommu_user_gather g;
	struct rnd_state rnd;
	unsigned long done;
	int ret;

	prandom_seed_state(&rnd, atomic_inc_return(&c->seed));
	kthread_use_mm(f->mm);
	for (round = 0; round < CROWD_ROUNDS; round++) {
		/* 511 and 512 are neighbours in different leaves. */
		i = 510 + prandom_u32_state(&rnd) % 3;
		n = prandom_u32_state(&rnd) % (round % 64 ? 2 : 60) + 1;
		at = prandom_u32_state(&rnd) % (((f->pages - 60) * P) >> shift);
		iommu_user_begin(&g, f->tbl, false);
		if (round % 4) {
			ret = iommu_user_map(&g, OFFSET + i, n,
					     f->base + ((unsigned long)at << shift),
					     DMA_BIDIRECTIONAL, &done);
			if (ret && !(ret == -ENODEV && atomic_read(&c->stop)))
				atomic_inc(&c->errors);
			if (ret)
				iommu_user_unmap(&g, OFFSET + i, done);
		} else {
			iommu_user_unmap(&g, OFFSET + i, n);
		}
		iommu_user_finish(&g);
		if (round % 256 == 0)
			iommu_levels_reclaim(f->tbl, 512, 512);
	}
	kthread_unuse_mm(f->mm);
	if (atomic_dec_and_test(&c->left))
		complete(&c->done);
	return 0;
}

static void crowd_run(struct kunit *test, bool revoke)
{
	struct crowd *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	struct fixture *f = test->priv;
	struct task_struct *t;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, c);
	/* Kills of one are seen by the others half way: only the end is exact. */
	kill_test = NULL;
	c->f = f;
	init_completion(&c->done);
	atomic_set(&c->left, THREADS + 1);
	for (i = 0; i < THREADS; i++) {
		t = kthread_run(crowd_thread, c, "iommu_user/%u", i);
		if (IS_ERR(t)) {
			KUNIT_FAIL(test, "no thread");
			atomic_dec(&c->left);
		}
	}
	if (revoke) {
		schedule_timeout_uninterruptible(2);
		atomic_set(&c->stop, 1);
		iommu_user_revoke(&f->tbl, 1);
		/* Cleared once and for all, though the others go on trying */
		unmap_range(f, 0, ENTRIES);
	}
	if (!atomic_dec_and_test(&c->left))
		wait_for_completion(&c->done);
	kill_test = test;
	KUNIT_EXPECT_EQ(test, atomic_read(&c->errors), 0);
}

static void threads(struct kunit *test)
{
	struct fixture *f = kind_make(test);

	crowd_run(test, false);
	/* Whatever came last: it is counted, and it goes. */
	unmap_range(f, 0, ENTRIES);
	expect_model(test);
}

static void threads_revoked(struct kunit *test)
{
	kind_make(test);
	crowd_run(test, true);
	expect_model(test);
}

/* ---- with the MMU off, and the same code with it on ---- */

static const struct way {
	const char *name;
	call_t call;
	struct iommu_user_tries try;
} ways[] = {
	{ "MMU on", call_virt, KUNIT_TRIES },
	{ "MMU off", call_real, {
		iommu_user_try_map, iommu_user_try_map_list, iommu_user_try_unmap,
		iommu_user_try_finish, iommu_user_try_map_one, iommu_user_try_unmap_one,
	} },
};

KUNIT_ARRAY_PARAM_DESC(way, ways, name);

static call_t way_make(struct kunit *test, bool pins, unsigned int shift)
{
	const struct way *w = test->param_value;

	if (w->call == call_real)
		need_real_mode(test);
	memory_make(test, !pins);
	KUNIT_ASSERT_EQ(test, table_make(test, shift, pins), 0);
	return w->call;
}

/* A section that has seen a table which is not revoked, and goes on until it is. */
struct watch {
	struct iommu_table *tbl;
	call_t call;
	bool inside;
	bool over;
	bool seen;
	struct completion done;
};

static long watch_revoked(struct watch *w)
{
	u64 end = mftb() + 10 * tb_ticks_per_sec;

	WRITE_ONCE(w->inside, true);
	while (!READ_ONCE(w->tbl->it_revoked) && mftb() < end)
		cpu_relax();
	/* A revoke that does not wait for this section returns during this loop. */
	for (end = mftb() + tb_ticks_per_sec / 100; mftb() < end;)
		cpu_relax();
	WRITE_ONCE(w->over, true);
	return READ_ONCE(w->tbl->it_revoked);
}

static int watch_thread(void *arg)
{
	struct watch *w = arg;

	w->seen = w->call(watch_revoked, (unsigned long)w, 0, 0, 0, 0, 0);
	complete(&w->done);
	return 0;
}

/* All sections are over when a table has been revoked, and later ones know: in that order. */
static void revoke_waits(struct kunit *test)
{
	call_t call = way_make(test, false, PAGE_SHIFT);
	struct fixture *f = test->priv;
	struct watch *w = kunit_kzalloc(test, sizeof(*w), GFP_KERNEL);
	struct task_struct *t;

	KUNIT_ASSERT_NOT_NULL(test, w);
	if (num_online_cpus() < 2)
		kunit_skip(test, "needs a CPU for the section");
	w->tbl = f->tbl;
	w->call = call;
	init_completion(&w->done);
	migrate_disable();
	t = kthread_run_on_cpu(watch_thread, w,
			       cpumask_any_but(cpu_online_mask, smp_processor_id()),
			       "iommu_user/%u");
	if (!IS_ERR(t)) {
		/* No timer: the other CPU may be the one that counts time. */
		while (!READ_ONCE(w->inside))
			cond_resched();
		iommu_user_revoke(&f->tbl, 1);
		KUNIT_EXPECT_TRUE(test, READ_ONCE(w->over));
		wait_for_completion(&w->done);
	}
	migrate_enable();
	KUNIT_EXPECT_FALSE(test, IS_ERR(t));
	KUNIT_EXPECT_TRUE(test, w->seen);
}

/* Tries the way of the case; as real mode does them, wherever they run */
static void rm_begin(struct fixture *f)
{
	iommu_user_begin(&f->g, f->tbl, true);
}

static int rm_call(struct kunit *test, void *fn, unsigned long a1, unsigned long a2,
		   unsigned long a3, unsigned long a4, unsigned long a5)
{
	const struct way *w = test->param_value;
	struct fixture *f = test->priv;

	return w->call(fn, (unsigned long)&f->g, a1, a2, a3, a4, a5);
}

#define way_try(test, which)	(((const struct way *)(test)->param_value)->try.which)

static int rm_map(struct kunit *test, unsigned long i, unsigned long n, unsigned long ua,
		  enum dma_data_direction dir)
{
	return rm_call(test, way_try(test, map), OFFSET + i, n, ua, dir, 0);
}

static int rm_unmap(struct kunit *test, unsigned long i, unsigned long n)
{
	return rm_call(test, way_try(test, unmap), OFFSET + i, n, 0, 0, 0);
}

static void rm_finish(struct kunit *test)
{
	rm_call(test, way_try(test, finish), 0, 0, 0, 0, 0);
}

static int try_one(struct kunit *test, unsigned long i, unsigned long ua,
		   enum dma_data_direction dir, bool mmu_off)
{
	const struct way *w = test->param_value;
	struct fixture *f = test->priv;

	if (dir == DMA_NONE)
		return w->call(w->try.unmap_one, (unsigned long)f->tbl, OFFSET + i, mmu_off,
			       0, 0, 0);
	return w->call(w->try.map_one, (unsigned long)f->tbl, OFFSET + i,
		       iommu_view_word(ua, dir != DMA_TO_DEVICE), mmu_off, 0, 0);
}

static int rm_one(struct kunit *test, unsigned long i, unsigned long ua,
		  enum dma_data_direction dir)
{
	return try_one(test, i, ua, dir, true);
}

static void real_mode(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long i;

	way_make(test, false, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, iommu_user_try_ready(f->tbl, true, true), 0);

	/* A leaf that is not there is not made here. */
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_map(test, 4, 1, ua_of(f, 1), DMA_BIDIRECTIONAL), -ENOENT);
	KUNIT_EXPECT_EQ(test, f->g.done, 0UL);
	expect_model(test);
	KUNIT_ASSERT_EQ(test, iommu_levels_grow(f->tbl, 0), 0);

	/* Map, and replace what leads to other regions, in a row and not */
	KUNIT_EXPECT_EQ(test, map_range(f, 2, 200, ua_of(f, 50), DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;
	rm_begin(f);
	for (i = 0; i < 100; i++) {
		KUNIT_EXPECT_EQ(test, rm_map(test, 2 * i, 1, ua_of(f, 300 + i),
					     i & 1 ? DMA_FROM_DEVICE : DMA_TO_DEVICE), 0);
		model_set(f, 2 * i, 1, ua_of(f, 300 + i), !(i & 1));
	}
	KUNIT_EXPECT_EQ(test, f->g.live, 99UL);
	expect_held(test);
	rm_finish(test);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	expect_model(test);

	/* Over regions, up to where there is no level */
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_map(test, 300, 300, ua_of(f, 20), DMA_BIDIRECTIONAL),
			-ENOENT);
	KUNIT_EXPECT_EQ(test, f->g.done, 212UL);
	rm_finish(test);
	model_set(f, 300, 212, ua_of(f, 20), false);
	expect_model(test);

	/* Clear across a missing leaf */
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_unmap(test, 0, 700), 0);
	KUNIT_EXPECT_EQ(test, f->g.done, 700UL);
	expect_held(test);
	rm_finish(test);
	model_set(f, 0, 700, 0, false);
	expect_model(test);

	/* Entries of all regions by turns */
	for (i = 0; i < 3 * IOMMU_USER_HELD; i++)
		KUNIT_EXPECT_EQ(test, map_range(f, i, 1,
						ua_of(f, i % REGIONS * REGION_PAGES + i),
						DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_unmap(test, 0, 512), 0);
	expect_held(test);
	rm_finish(test);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	model_set(f, 0, 512, 0, false);
	expect_model(test);
}

/* One entry without a gather: set, replaced within and across regions, cleared */
/* @mmu_off: what the tries are told, which may be so where the MMU is on */
static void one_entry_as(struct kunit *test, bool mmu_off)
{
	struct fixture *f = test->priv;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, try_one(test, 3, ua_of(f, 1), DMA_TO_DEVICE, mmu_off), -ENOENT);
	KUNIT_EXPECT_EQ(test, try_one(test, 3, 0, DMA_NONE, mmu_off), 0);
	KUNIT_EXPECT_EQ(test, kills, 0U);
	KUNIT_ASSERT_EQ(test, iommu_levels_grow(f->tbl, 0), 0);
	/* The head of a line, one within it, the last */
	for (i = 16; i < 32; i += i == 16 ? 5 : 10) {
		dev_read_all(f->tbl);
		kills = 0;
		KUNIT_EXPECT_EQ(test, try_one(test, i, ua_of(f, 1), DMA_TO_DEVICE, mmu_off), 0);
		model_set(f, i, 1, ua_of(f, 1), true);
		expect_model(test);
		KUNIT_EXPECT_EQ(test, try_one(test, i, ua_of(f, 5), DMA_BIDIRECTIONAL, mmu_off), 1);
		model_set(f, i, 1, ua_of(f, 5), false);
		expect_model(test);
		KUNIT_EXPECT_EQ(test, try_one(test, i, ua_of(f, 200), DMA_FROM_DEVICE, mmu_off), 1);
		model_set(f, i, 1, ua_of(f, 200), false);
		expect_model(test);
		/* Not registered: nothing changes */
		KUNIT_EXPECT_EQ(test, try_one(test, i, ua_of(f, f->pages), DMA_TO_DEVICE, mmu_off),
				-EFAULT);
		expect_model(test);
		KUNIT_EXPECT_EQ(test, kills, 3U);
		if (i & 1)
			continue;
		KUNIT_EXPECT_EQ(test, try_one(test, i, 0, DMA_NONE, mmu_off), 1);
		KUNIT_EXPECT_EQ(test, try_one(test, i, 0, DMA_NONE, mmu_off), 0);
		KUNIT_EXPECT_EQ(test, kills, 4U);
		model_set(f, i, 1, 0, false);
		expect_model(test);
	}
}

static void one_entry(struct kunit *test)
{
	way_make(test, false, PAGE_SHIFT);
	one_entry_as(test, true);
}

/* As in virtual mode, which has an invalidation of its own */
static void one_entry_virtual(struct kunit *test)
{
	if (((const struct way *)test->param_value)->call == call_real)
		kunit_skip(test, "not for real mode");
	way_make(test, false, PAGE_SHIFT);
	one_entry_as(test, false);
}

/* Write the head of entry @i's line by hand; returns what it was. */
static u64 head_xchg(struct fixture *f, unsigned long i, u64 word)
{
	struct iommu_span span;
	u64 old;

	rcu_read_lock();
	iommu_levels_walk(f->tbl, i, &span);
	old = xchg(iommu_view_head(span.view), word);
	rcu_read_unlock();
	return old;
}

static u64 head_lock(struct fixture *f, unsigned long i)
{
	u64 old = head_xchg(f, i, 0);

	head_xchg(f, i, old | IOMMU_VIEW_LOCK);
	return old;
}

/* iommu_user_try_map_list() of @f's own list, either way; the model learns what is set. */
static int list_map(struct kunit *test, unsigned long i, unsigned long n, const u64 *list,
		    unsigned long ua, enum dma_data_direction dir)
{
	/* Something below the page bits, which @delta takes away */
	unsigned long delta = ua - 3, k;
	struct fixture *f = test->priv;
	int ret;

	ret = rm_call(test, way_try(test, map_list), OFFSET + i, n, (unsigned long)list,
		      delta, dir);
	for (k = 0; k < f->g.done; k++)
		model_set(f, i + k, 1, list[k] + delta, dir == DMA_TO_DEVICE);
	return ret;
}

static void list_fill(struct fixture *f, u64 *list, unsigned int step)
{
	unsigned int i;

	for (i = 0; i < 512; i++)
		list[i] = (u64)(i * step % REGION_PAGES) * P + 3;
}

/* Pages of a region that a device may have written */
static unsigned int pages_dirty(struct fixture *f, unsigned int region)
{
	struct mm_iommu_run run;
	unsigned int i, n = 0;

	for (i = 0; i < f->region_pages; i++) {
		mm_iommu_resolve(f->mem[region], ua_of(f, region * f->region_pages + i),
				 &run);
		n += !!(READ_ONCE(*run.word) & MM_IOMMU_DIRTY);
	}
	return n;
}

/* Scattered pages are dirty, each, once a device may write to them, and not before. */
static void dirty_pages(struct kunit *test)
{
	struct fixture *f = test->priv;

	way_make(test, false, PAGE_SHIFT);
	KUNIT_ASSERT_EQ(test, iommu_levels_grow(f->tbl, 0), 0);
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_map(test, 0, REGION_PAGES, ua_of(f, 0), DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, pages_dirty(f, 0), 0U);
	KUNIT_EXPECT_EQ(test, rm_map(test, 0, REGION_PAGES, ua_of(f, 0), DMA_FROM_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, pages_dirty(f, 0), REGION_PAGES);
	KUNIT_EXPECT_EQ(test, pages_dirty(f, 1), 0U);
	rm_finish(test);
	model_set(f, 0, REGION_PAGES, ua_of(f, 0), false);
	expect_model(test);
}

static void lists(struct kunit *test)
{
	struct fixture *f = test->priv;
	u64 *list, word;

	way_make(test, false, PAGE_SHIFT);
	list = kunit_kcalloc(test, 512, sizeof(*list), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, list);
	list_fill(f, list, 37);

	/* No level */
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, list_map(test, 0, 90, list, f->base, DMA_BIDIRECTIONAL),
			-ENOENT);
	KUNIT_EXPECT_EQ(test, f->g.done, 0UL);
	expect_model(test);
	KUNIT_ASSERT_EQ(test, iommu_levels_grow(f->tbl, 0), 0);
	dev_read_all(f->tbl);

	/* Clear ones, up to the end of the leaf and on */
	KUNIT_EXPECT_EQ(test, list_map(test, 400, 500, list, f->base, DMA_BIDIRECTIONAL),
			-ENOENT);
	KUNIT_EXPECT_EQ(test, f->g.done, 112UL);
	KUNIT_ASSERT_EQ(test, iommu_levels_grow(f->tbl, 512), 0);
	KUNIT_EXPECT_EQ(test, list_map(test, 400, 500, list, f->base, DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, f->g.done, 500UL);
	KUNIT_EXPECT_EQ(test, f->g.live, 112UL);
	expect_held(test);
	rm_finish(test);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	expect_model(test);

	/* Replaced, to read only */
	list_fill(f, list, 11);
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, list_map(test, 512, 388, list, ua_of(f, 2 * REGION_PAGES),
				       DMA_TO_DEVICE), 0);
	expect_held(test);
	rm_finish(test);
	KUNIT_EXPECT_EQ(test, kills, 2U);
	expect_model(test);
	KUNIT_EXPECT_EQ(test, pages_dirty(f, 0), REGION_PAGES);
	KUNIT_EXPECT_EQ(test, pages_dirty(f, 2), 0U);

	/* In the regions before and behind; someone else's line */
	rm_begin(f);
	list[70] = (u64)REGION_PAGES * P + 3;
	list[60] = -P + 3;
	word = head_lock(f, 37);
	KUNIT_EXPECT_EQ(test, list_map(test, 0, 100, list, ua_of(f, 3 * REGION_PAGES),
				       DMA_FROM_DEVICE), -EAGAIN);
	KUNIT_EXPECT_EQ(test, f->g.done, 32UL);
	head_xchg(f, 37, word);
	KUNIT_EXPECT_EQ(test, list_map(test, 32, 68, list + 32, ua_of(f, 3 * REGION_PAGES),
				       DMA_FROM_DEVICE), 0);
	/* In none */
	list[3] = (u64)(f->pages + 5) * P + 3;
	KUNIT_EXPECT_EQ(test, list_map(test, 60, 10, list, f->base, DMA_FROM_DEVICE),
			-EFAULT);
	KUNIT_EXPECT_EQ(test, f->g.done, 3UL);
	rm_finish(test);
	expect_model(test);

	iommu_user_revoke(&f->tbl, 1);
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, list_map(test, 200, 9, list, f->base, DMA_TO_DEVICE), -ENODEV);
	rm_finish(test);
	expect_model(test);
}

/* Contended, going, revoked, not invalidated: nothing happens that is not counted. */
static void real_mode_too_hard(struct kunit *test)
{
	struct fixture *f = test->priv;
	u64 word;

	way_make(test, false, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, map_range(f, 0, 40, ua_of(f, 0), DMA_BIDIRECTIONAL), 0);

	/* The line of 16 to 31 is somebody's. */
	word = head_lock(f, 20);
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_map(test, 20, 1, ua_of(f, 100), DMA_BIDIRECTIONAL),
			-EAGAIN);
	KUNIT_EXPECT_EQ(test, rm_one(test, 20, ua_of(f, 100), DMA_BIDIRECTIONAL), -EAGAIN);
	KUNIT_EXPECT_EQ(test, rm_one(test, 20, 0, DMA_NONE), -EAGAIN);
	KUNIT_EXPECT_EQ(test, rm_unmap(test, 14, 4), -EAGAIN);
	KUNIT_EXPECT_EQ(test, f->g.done, 2UL);
	rm_finish(test);
	model_set(f, 14, 2, 0, false);
	head_xchg(f, 20, word);
	expect_model(test);

	/* Being freed: no entry there can be set, and none is live. */
	KUNIT_EXPECT_EQ(test, head_xchg(f, 50, IOMMU_VIEW_DEAD), 0ULL);
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_map(test, 50, 1, ua_of(f, 100), DMA_BIDIRECTIONAL),
			-ENOENT);
	KUNIT_EXPECT_EQ(test, rm_one(test, 50, ua_of(f, 100), DMA_BIDIRECTIONAL), -ENOENT);
	KUNIT_EXPECT_EQ(test, rm_one(test, 50, 0, DMA_NONE), 0);
	KUNIT_EXPECT_EQ(test, rm_unmap(test, 48, 16), 0);
	KUNIT_EXPECT_EQ(test, head_xchg(f, 50, 0), (u64)IOMMU_VIEW_DEAD);
	expect_model(test);

	iommu_user_revoke(&f->tbl, 1);
	KUNIT_EXPECT_EQ(test, iommu_user_try_ready(f->tbl, true, true), -ENODEV);
	KUNIT_EXPECT_EQ(test, iommu_user_try_ready(f->tbl, false, true), 0);
	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_map(test, 20, 1, ua_of(f, 100), DMA_BIDIRECTIONAL),
			-ENODEV);
	KUNIT_EXPECT_EQ(test, rm_one(test, 20, ua_of(f, 100), DMA_BIDIRECTIONAL), -ENODEV);
	KUNIT_EXPECT_EQ(test, rm_unmap(test, 0, 512), 0);
	rm_finish(test);
	model_set(f, 0, 512, 0, false);
	expect_model(test);
}

/* v1 with the MMU off: what can be dropped is, the rest is put back untouched. */
static void real_mode_pins(struct kunit *test)
{
	const unsigned int last = (P >> 12) - 1;
	struct fixture *f = test->priv;
	struct page *page;
	unsigned int i;

	way_make(test, true, 12);
	if (radix_enabled())
		kunit_skip(test, "no realmode_pfn_to_page() with radix translation");
	KUNIT_EXPECT_EQ(test, map_range(f, 0, 20, f->base, DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, map_range(f, 30, 3, ua_of(f, 4), DMA_BIDIRECTIONAL), 0);
	expect_model(test);

	rm_begin(f);
	KUNIT_EXPECT_EQ(test, rm_map(test, 2, 1, f->base, DMA_TO_DEVICE), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, rm_one(test, 2, f->base, DMA_TO_DEVICE), -EOPNOTSUPP);
	/* Read only, and the process still has the page */
	KUNIT_EXPECT_EQ(test, rm_unmap(test, 3, 4), 0);
	KUNIT_EXPECT_EQ(test, rm_one(test, 7, 0, DMA_NONE), 1);
	model_set(f, 3, 5, 0, false);
	expect_model(test);

	/* To be dirtied: only if it is already */
	page = pfn_to_page(f->hpa[4] >> PAGE_SHIFT);
	if (!PageDirty(page)) {
		KUNIT_EXPECT_EQ(test, rm_unmap(test, 30, 1), -EOPNOTSUPP);
		expect_model(test);
	}
	SetPageDirty(page);
	KUNIT_EXPECT_EQ(test, rm_unmap(test, 30, 1), 0);
	model_set(f, 30, 1, 0, false);
	expect_model(test);

	/* The process gives the page away: the last pin is the last reference. */
	KUNIT_ASSERT_EQ(test, vm_munmap(f->base, P), 0);
	lru_add_drain_all();
	for (i = 0; i < 16; i++) {
		if (i >= 3 && i < 8)
			continue;
		dev_read_all(f->tbl);
		if (i != last) {
			KUNIT_EXPECT_EQ(test, rm_unmap(test, i, 1), 0);
			model_set(f, i, 1, 0, false);
		} else {
			KUNIT_EXPECT_EQ(test, rm_unmap(test, i, 1), -EOPNOTSUPP);
			KUNIT_EXPECT_EQ(test, f->g.done, 0UL);
		}
		expect_model(test);
	}
	expect_held(test);
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), 7L);
	expect_model(test);
}

/* ---- a hypervisor's entries ---- */

/* Its TCEs; calls; the call of this number fails, from the entry of that number on */
static u64 hv_tce[ENTRIES];
static unsigned int hv_calls;
static long hv_fail_at;			/* this entry is refused; -1: none */
static bool hv_refuse_all;		/* nothing is taken back either */

static int hv_set_user(struct iommu_table *tbl, unsigned long index, unsigned long n,
		       void (*fill)(void *arg, __be64 *list, unsigned long n), void *arg)
{
	static __be64 list[512];
	unsigned long i;

	hv_calls++;
	if (fill)
		fill(arg, list, n);
	for (i = 0; i < n; i++) {
		if ((long)(index - OFFSET + i) == hv_fail_at && fill &&
		    (hv_refuse_all || be64_to_cpu(list[i]) != hv_tce[hv_fail_at]))
			return -EIO;
		hv_tce[index - OFFSET + i] = fill ? be64_to_cpu(list[i]) : 0;
	}
	return 0;
}

static struct iommu_table_ops hv_ops = {
	.set_user = hv_set_user,
	.set_user_max = 512,
	.free = iommu_levels_destroy,
};

/* Entries lead where the model says, and hold just that. */
static void hv_expect(struct kunit *test, int line)
{
	struct fixture *f = test->priv;
	long live[MANY] = {};
	unsigned long i, page;
	u64 word, want, flags;

	for (i = 0; i < ENTRIES; i++) {
		tce_at(f->tbl, i, &word);
		want = 0;
		flags = 0;
		if (f->ua[i]) {
			page = (f->ua[i] - f->base) >> PAGE_SHIFT;
			want = f->hpa[page] | (f->ro[i] ? TCE_PCI_READ : RW);
			flags = IOMMU_VIEW_LIVE | (f->ro[i] ? 0 : IOMMU_VIEW_WRITE);
			live[page / f->region_pages]++;
		}
		KUNIT_EXPECT_EQ_MSG(test, hv_tce[i], want, "line %d entry %lu", line, i);
		KUNIT_EXPECT_EQ_MSG(test, word, f->ua[i] | flags, "line %d entry %lu", line, i);
	}
	for (i = 0; i < f->regions; i++)
		KUNIT_EXPECT_EQ_MSG(test, mapped(f, i), live[i], "line %d region %lu", line, i);
}

static void hypervisor(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long done, i;
	u64 *list;

	memory_make(test, true);
	KUNIT_ASSERT_EQ(test, table_make_ops(test, PAGE_SHIFT, false, &hv_ops), 0);
	memset(hv_tce, 0, sizeof(hv_tce));
	hv_calls = 0;
	hv_fail_at = -1;
	hv_refuse_all = false;

	/* One call for a leaf's worth of a region, whatever was there */
	iommu_user_begin(&f->g, f->tbl, false);
	KUNIT_EXPECT_EQ(test, iommu_user_try_ready(f->tbl, false, false), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, map_range(f, 7, 90, ua_of(f, 3), DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, hv_calls, 1U);
	hv_expect(test, __LINE__);
	KUNIT_EXPECT_EQ(test, map_range(f, 40, 1, ua_of(f, 200), DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, hv_calls, 2U);
	hv_expect(test, __LINE__);
	/* Two leaves, three regions */
	KUNIT_EXPECT_EQ(test, map_range(f, 450, 250, ua_of(f, 50), DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_LE(test, hv_calls, 7U);
	hv_expect(test, __LINE__);

	/* A list */
	list = kunit_kcalloc(test, 512, sizeof(*list), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, list);
	list_fill(f, list, 37);
	list[300] = (u64)(REGION_PAGES + 4) * P + 3;
	hv_calls = 0;
	iommu_user_begin(&f->g, f->tbl, false);
	KUNIT_EXPECT_EQ(test, iommu_user_map_list(&f->g, OFFSET + 20, 400, list, f->base - 3,
						  DMA_BIDIRECTIONAL), 0);
	iommu_user_finish(&f->g);
	KUNIT_EXPECT_EQ(test, hv_calls, 3U);
	for (i = 0; i < 400; i++)
		model_set(f, 20 + i, 1, f->base - 3 + list[i], false);
	hv_expect(test, __LINE__);

	/* Refused half way: all is as it was up to the one, and nothing is lost. */
	hv_fail_at = 60;
	iommu_user_begin(&f->g, f->tbl, false);
	KUNIT_EXPECT_EQ(test, iommu_user_map(&f->g, OFFSET + 50, 20, ua_of(f, 400),
					     DMA_BIDIRECTIONAL, &done), -EIO);
	iommu_user_finish(&f->g);
	KUNIT_EXPECT_EQ(test, done, 10UL);
	model_set(f, 50, 10, ua_of(f, 400), false);
	hv_expect(test, __LINE__);
	/* Not taken back either: clear then, and nothing held */
	hv_refuse_all = true;
	iommu_user_begin(&f->g, f->tbl, false);
	KUNIT_EXPECT_EQ(test, iommu_user_map(&f->g, OFFSET + 60, 2, ua_of(f, 400),
					     DMA_BIDIRECTIONAL, &done), -EIO);
	iommu_user_finish(&f->g);
	KUNIT_EXPECT_EQ(test, done, 0UL);
	model_set(f, 60, 1, 0, false);
	hv_expect(test, __LINE__);
	hv_fail_at = -1;

	/* Calls go by live entries. */
	hv_calls = 0;
	KUNIT_EXPECT_GT(test, unmap_range(f, 0, ENTRIES), 500L);
	KUNIT_EXPECT_LE(test, hv_calls, 4U);
	hv_expect(test, __LINE__);
	hv_calls = 0;
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), 0L);
	KUNIT_EXPECT_EQ(test, hv_calls, 0U);
}

/* Pages of one region and of the next by turns: those that are to stay stand between the others. */
static unsigned int page_by_turns(struct fixture *f, unsigned int i)
{
	return (i * 7 + i % 2 * REGION_PAGES) % f->pages;
}

/* What leads into a range of memory is cleared, and nothing else. */
static void unmap_ua(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int i;
	long want;

	memory_make(test, true);
	KUNIT_ASSERT_EQ(test, table_make(test, PAGE_SHIFT, false), 0);
	for (i = 0; i < 300; i++)
		KUNIT_EXPECT_EQ(test, map_range(f, 400 + i, 1, ua_of(f, page_by_turns(f, i)),
						DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;
	want = mapped(f, 1);
	KUNIT_EXPECT_EQ(test, iommu_user_unmap_ua(f->tbl, ua_of(f, REGION_PAGES),
						  REGION_PAGES * P), want);
	for (i = 0; i < 300; i++) {
		if (page_by_turns(f, i) / REGION_PAGES == 1)
			model_set(f, 400 + i, 1, 0, false);
	}
	KUNIT_EXPECT_EQ(test, kills, 1U);
	expect_model(test);
}

static struct kunit_case iommu_user_cases[] = {
	KUNIT_CASE(order),
	KUNIT_CASE_PARAM(ranges, kind_gen_params),
	KUNIT_CASE(one_kill),
	KUNIT_CASE_PARAM(scattered, kind_gen_params),
	KUNIT_CASE(gather_overflow),
	KUNIT_CASE_PARAM(half_failed, kind_gen_params),
	KUNIT_CASE(too_scattered),
	KUNIT_CASE(pins_dirty),
	KUNIT_CASE(pins_charged),
	KUNIT_CASE(pins_full),
	KUNIT_CASE_PARAM(refused, kind_gen_params),
	KUNIT_CASE_PARAM(random_ranges, kind_gen_params),
	KUNIT_CASE_PARAM(threads, kind_gen_params),
	KUNIT_CASE_PARAM(threads_revoked, kind_gen_params),
	KUNIT_CASE_PARAM(revoke_waits, way_gen_params),
	KUNIT_CASE_PARAM(real_mode, way_gen_params),
	KUNIT_CASE_PARAM(one_entry, way_gen_params),
	KUNIT_CASE_PARAM(one_entry_virtual, way_gen_params),
	KUNIT_CASE_PARAM(dirty_pages, way_gen_params),
	KUNIT_CASE_PARAM(lists, way_gen_params),
	KUNIT_CASE_PARAM(real_mode_too_hard, way_gen_params),
	KUNIT_CASE_PARAM(real_mode_pins, way_gen_params),
	KUNIT_CASE(hypervisor),
	KUNIT_CASE(unmap_ua),
	{}
};

static struct kunit_suite iommu_user_suite = {
	.name = "iommu_user",
	.init = iommu_user_test_init,
	.exit = iommu_user_test_exit,
	.test_cases = iommu_user_cases,
};

kunit_test_suite(iommu_user_suite);

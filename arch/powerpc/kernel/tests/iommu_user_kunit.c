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
#include "../iommu_user_core.h"

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
	unsigned long out;
	/* model */
	unsigned long ua[ENTRIES];	/* 0: clear */
	bool ro[ENTRIES];
};

/* The device; there is one at a time. Written with the MMU off, too. */
static unsigned long cache[ENTRIES];
static unsigned int kills, killed_entries;
static struct kunit *kill_test;		/* check what is held at each kill */
static bool kill_fails;

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

static int fake_kill_rm(struct iommu_table *tbl, unsigned long index,
			unsigned long pages)
{
	if (kill_fails)
		return -EIO;
	cache_drop(index, pages);
	return 0;
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
	u64 word, flags;

	for (i = 0; i < ENTRIES; i++) {
		tce = tce_at(f->tbl, i, &word);
		want = 0;
		flags = 0;
		if (f->ua[i]) {
			off = f->ua[i] - f->base;
			want = f->hpa[off >> PAGE_SHIFT] | (off & ~PAGE_MASK) |
			       (f->ro[i] ? TCE_PCI_READ : RW);
			flags = IOMMU_VIEW_LIVE | (f->ro[i] ? 0 : IOMMU_VIEW_WRITE) |
				(f->tbl->it_pins ? IOMMU_VIEW_PIN : 0);
			live[(off >> PAGE_SHIFT) / f->region_pages]++;
			pins += per;
		}
		if (tce != want || word != (f->ua[i] | flags) ||
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

static int table_make(struct kunit *test, unsigned int page_shift, bool pins)
{
	struct fixture *f = test->priv;
	struct iommu_table *tbl = kzalloc(sizeof(*tbl), GFP_KERNEL);
	unsigned int i;
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, tbl);
	INIT_LIST_HEAD_RCU(&tbl->it_group_list);
	kref_init(&tbl->it_kref);
	tbl->it_ops = &fake_ops;
	tbl->it_page_shift = page_shift;
	tbl->it_offset = OFFSET;
	tbl->it_size = ENTRIES;
	tbl->it_pins = pins;
	ret = iommu_levels_init(tbl, NUMA_NO_NODE, 2, 9, true, f->mm);
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
	kill_fails = false;
	test->priv = f;
	return 0;
}

/* Nothing mapped, nothing pinned, nothing charged is left, whatever the case did. */
static void iommu_user_test_exit(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int i;

	if (!f)
		return;
	if (f->tbl) {
		iommu_user_begin(&f->g, f->tbl);
		iommu_user_unmap(&f->g, OFFSET, ENTRIES);
		iommu_user_finish(&f->g);
		memset(f->ua, 0, sizeof(f->ua));
		if (f->tbl->it_pins || f->mem[f->regions - 1])
			expect_model(test);
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

	iommu_user_begin(&f->g, f->tbl);
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

	iommu_user_begin(&f->g, f->tbl);
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
	unsigned long hpa;
	u64 word;

	memory_make(test, true);
	KUNIT_ASSERT_EQ(test, table_make(test, PAGE_SHIFT, false), 0);
	KUNIT_ASSERT_EQ(test, map_range(f, 3, 1, ua_of(f, 7), DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;

	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, iommu_user_get(f->tbl, ua_of(f, REGION_PAGES), P, true,
					     &hpa), (long)P);
	KUNIT_EXPECT_EQ(test, hpa, f->hpa[REGION_PAGES]);
	KUNIT_EXPECT_EQ(test, mapped(f, 0), 1L);
	KUNIT_EXPECT_EQ(test, mapped(f, 1), 1L);
	KUNIT_EXPECT_EQ(test, tce_at(f->tbl, 3, &word), f->hpa[7] | RW);

	KUNIT_EXPECT_EQ(test, iommu_user_set(&f->g, OFFSET + 3, 1,
					     ua_of(f, REGION_PAGES), hpa,
					     DMA_TO_DEVICE), 1L);
	KUNIT_EXPECT_EQ(test, tce_at(f->tbl, 3, &word), hpa | TCE_PCI_READ);
	KUNIT_EXPECT_EQ(test, word, ua_of(f, REGION_PAGES) | IOMMU_VIEW_LIVE);
	/* The device has not heard of it: both are held. */
	KUNIT_EXPECT_EQ(test, kills, 0U);
	KUNIT_EXPECT_EQ(test, dev_read(f->tbl, 3), f->hpa[7] | RW);
	KUNIT_EXPECT_EQ(test, mapped(f, 0), 1L);
	KUNIT_EXPECT_EQ(test, mapped(f, 1), 1L);

	iommu_user_finish(&f->g);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	KUNIT_EXPECT_EQ(test, killed_entries, 2U);
	model_set(f, 3, 1, ua_of(f, REGION_PAGES), true);
	expect_model(test);

	/* Not set after all */
	KUNIT_EXPECT_EQ(test, iommu_user_get(f->tbl, ua_of(f, 5), P, true, &hpa), (long)P);
	iommu_user_put(f->tbl, ua_of(f, 5), hpa, 1, true);
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
	unsigned int i, n = 5 * IOMMU_USER_RUNS + 3;

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
	KUNIT_EXPECT_GT(test, kills, MANY / IOMMU_USER_RUNS);
	expect_model(test);
	/* In a row, over many regions */
	kills = 0;
	KUNIT_EXPECT_EQ(test, map_range(f, 0, n, ua_of(f, 100), DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_GE(test, kills, n / 8 / IOMMU_USER_RUNS);
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
	iommu_user_begin(&f->g, f->tbl);
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
	iommu_user_revoke(f->tbl);
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
		iommu_user_begin(&g, f->tbl);
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
		iommu_user_revoke(f->tbl);
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
} ways[] = {
	{ "MMU on", call_virt },
	{ "MMU off", call_real },
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
		iommu_user_revoke(f->tbl);
		KUNIT_EXPECT_TRUE(test, READ_ONCE(w->over));
		wait_for_completion(&w->done);
	}
	migrate_enable();
	KUNIT_EXPECT_FALSE(test, IS_ERR(t));
	KUNIT_EXPECT_TRUE(test, w->seen);
}

#define rm_get(ua, size, write)						\
	call((void *)iommu_user_get_rm, (unsigned long)f->tbl, ua, size, write, \
	     (unsigned long)&f->out, 0)
#define rm_set(i, n, ua, hpa, dir)					\
	call((void *)iommu_user_set_rm, (unsigned long)&f->g, OFFSET + (i), n, ua, hpa, dir)
#define rm_unmap(i, n)							\
	call((void *)iommu_user_unmap_rm, (unsigned long)&f->g, OFFSET + (i), n, \
	     (unsigned long)&f->out, 0, 0)
#define rm_finish()							\
	((int)call((void *)iommu_user_finish_rm, (unsigned long)&f->g, 0, 0, 0, 0, 0))

static void real_mode(struct kunit *test)
{
	call_t call = way_make(test, false, PAGE_SHIFT);
	struct fixture *f = test->priv;
	unsigned long hpa, i;

	KUNIT_EXPECT_TRUE(test, iommu_user_rm_ready(f->tbl));
	iommu_user_begin(&f->g, f->tbl);

	/* A leaf that is not there is not made here. */
	KUNIT_EXPECT_EQ(test, rm_get(ua_of(f, 1), P, true), (long)P);
	hpa = f->out;
	KUNIT_EXPECT_EQ(test, hpa, f->hpa[1]);
	KUNIT_EXPECT_EQ(test, rm_set(4, 1, ua_of(f, 1), hpa, DMA_BIDIRECTIONAL),
			(long)-ENOENT);
	KUNIT_EXPECT_EQ(test, (int)call((void *)iommu_user_put_rm, (unsigned long)f->tbl,
					ua_of(f, 1), 1, 0, 0, 0), 0);
	expect_model(test);
	KUNIT_ASSERT_EQ(test, iommu_levels_grow(f->tbl, 0), 0);

	/* Map, and replace what leads to other regions, in a row and not */
	KUNIT_EXPECT_EQ(test, map_range(f, 2, 200, ua_of(f, 50), DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;
	iommu_user_begin(&f->g, f->tbl);
	for (i = 0; i < 100; i++) {
		KUNIT_EXPECT_EQ(test, rm_get(ua_of(f, 300 + i), P, i & 1), (long)P);
		hpa = f->out;
		KUNIT_EXPECT_EQ(test, rm_set(2 * i, 1, ua_of(f, 300 + i), hpa,
					     i & 1 ? DMA_FROM_DEVICE : DMA_TO_DEVICE), 1L);
		model_set(f, 2 * i, 1, ua_of(f, 300 + i), !(i & 1));
	}
	expect_held(test);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	expect_model(test);

	/* Clear across a missing leaf */
	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, rm_unmap(0, 700), 0L);
	KUNIT_EXPECT_EQ(test, f->out, 700UL);
	expect_held(test);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	model_set(f, 0, 700, 0, false);
	expect_model(test);

	/* Entries of all regions by turns */
	for (i = 0; i < 3 * IOMMU_USER_RUNS; i++)
		KUNIT_EXPECT_EQ(test, map_range(f, i, 1,
						ua_of(f, i % REGIONS * REGION_PAGES + i),
						DMA_BIDIRECTIONAL), 0);
	expect_model(test);
	kills = 0;
	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, rm_unmap(0, 512), 0L);
	expect_held(test);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	model_set(f, 0, 512, 0, false);
	expect_model(test);
}

/* Set or clear @word of entry @i by hand. */
static u64 word_xchg(struct fixture *f, unsigned long i, u64 word)
{
	struct iommu_span span;
	u64 old;

	rcu_read_lock();
	iommu_levels_walk(f->tbl, i, &span);
	old = xchg(span.view, word);
	rcu_read_unlock();
	return old;
}

/* iommu_user_map_list() of @f's own list, either way; the model learns what is set. */
static long list_map(struct fixture *f, call_t call, unsigned long i, unsigned long n,
		     const u64 *list, unsigned long ua, enum dma_data_direction dir)
{
	/* Something below the page bits, which @delta takes away */
	unsigned long delta = ua - 3, k;
	long done;

	done = call(call == call_real ? (void *)iommu_user_map_list_rm :
		    (void *)iommu_user_map_list, (unsigned long)&f->g, OFFSET + i, n,
		    (unsigned long)list, delta, dir);
	for (k = 0; (long)k < done; k++)
		model_set(f, i + k, 1, list[k] + delta, dir == DMA_TO_DEVICE);
	return done;
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

static void lists(struct kunit *test)
{
	call_t call = way_make(test, false, PAGE_SHIFT);
	struct fixture *f = test->priv;
	unsigned long done;
	u64 *list, word;

	list = kunit_kcalloc(test, 512, sizeof(*list), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, list);
	list_fill(f, list, 37);

	/* No level */
	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 0, 90, list, f->base, DMA_BIDIRECTIONAL), 0L);
	expect_model(test);
	KUNIT_ASSERT_EQ(test, iommu_levels_grow(f->tbl, 0), 0);
	KUNIT_ASSERT_EQ(test, iommu_levels_grow(f->tbl, 512), 0);
	dev_read_all(f->tbl);

	/* Clear ones, up to the end of the leaf and on */
	KUNIT_EXPECT_EQ(test, list_map(f, call, 400, 500, list, f->base, DMA_BIDIRECTIONAL),
			112L);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 512, 388, list + 112, f->base,
				       DMA_BIDIRECTIONAL), 388L);
	expect_held(test);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	KUNIT_EXPECT_EQ(test, kills, 1U);
	expect_model(test);

	/* Replaced, once the region of the old ones is known; to read only */
	list_fill(f, list, 11);
	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 512, 388, list, ua_of(f, 2 * REGION_PAGES),
				       DMA_TO_DEVICE), 0L);
	KUNIT_EXPECT_EQ(test, iommu_user_map(&f->g, OFFSET + 512, 1,
					     ua_of(f, 2 * REGION_PAGES), DMA_TO_DEVICE,
					     &done), 0);
	model_set(f, 512, 1, ua_of(f, 2 * REGION_PAGES), true);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 513, 387, list, ua_of(f, 2 * REGION_PAGES),
				       DMA_TO_DEVICE), 387L);
	expect_held(test);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	KUNIT_EXPECT_EQ(test, kills, 2U);
	expect_model(test);
	KUNIT_EXPECT_EQ(test, pages_dirty(f, 0), REGION_PAGES);
	KUNIT_EXPECT_EQ(test, pages_dirty(f, 2), 0U);

	/* Not in the region, before it and behind it; someone else's entry */
	iommu_user_begin(&f->g, f->tbl);
	list[70] = (u64)REGION_PAGES * P + 3;
	list[60] = -P + 3;
	word = word_xchg(f, 30, IOMMU_VIEW_LOCK);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 0, 100, list, ua_of(f, 3 * REGION_PAGES),
				       DMA_FROM_DEVICE), 30L);
	word_xchg(f, 30, word);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 30, 70, list + 30,
				       ua_of(f, 3 * REGION_PAGES), DMA_FROM_DEVICE), 30L);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 61, 39, list + 61,
				       ua_of(f, 3 * REGION_PAGES), DMA_FROM_DEVICE), 9L);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 60, 1, list + 60,
				       f->base, DMA_FROM_DEVICE), 0L);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	expect_model(test);

	iommu_user_revoke(f->tbl);
	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, list_map(f, call, 200, 9, list, f->base, DMA_TO_DEVICE), 0L);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	expect_model(test);
}

/* Contended, going, revoked, not invalidated: nothing happens that is not counted. */
static void real_mode_too_hard(struct kunit *test)
{
	call_t call = way_make(test, false, PAGE_SHIFT);
	struct fixture *f = test->priv;
	unsigned long hpa;
	u64 word;

	KUNIT_EXPECT_EQ(test, map_range(f, 0, 8, ua_of(f, 0), DMA_BIDIRECTIONAL), 0);
	KUNIT_EXPECT_EQ(test, rm_get(ua_of(f, 100), P, true), (long)P);
	hpa = f->out;

	word = word_xchg(f, 5, 0);
	word_xchg(f, 5, word | IOMMU_VIEW_LOCK);
	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, rm_set(5, 1, ua_of(f, 100), hpa, DMA_BIDIRECTIONAL),
			(long)-EAGAIN);
	KUNIT_EXPECT_EQ(test, rm_unmap(4, 4), (long)-EAGAIN);
	KUNIT_EXPECT_EQ(test, f->out, 1UL);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	model_set(f, 4, 1, 0, false);
	word_xchg(f, 5, word);

	word_xchg(f, 20, IOMMU_VIEW_DEAD);
	KUNIT_EXPECT_EQ(test, rm_set(20, 1, ua_of(f, 100), hpa, DMA_BIDIRECTIONAL),
			(long)-EAGAIN);
	KUNIT_EXPECT_EQ(test, word_xchg(f, 20, 0), (u64)IOMMU_VIEW_DEAD);

	iommu_user_put(f->tbl, ua_of(f, 100), hpa, 1, true);
	expect_model(test);

	/* Could not be invalidated: then nothing is dropped. */
	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, rm_unmap(0, 2), 0L);
	kill_fails = true;
	KUNIT_EXPECT_EQ(test, rm_finish(), -EAGAIN);
	expect_held(test);
	kill_fails = false;
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	model_set(f, 0, 2, 0, false);
	expect_model(test);

	iommu_user_revoke(f->tbl);
	KUNIT_EXPECT_FALSE(test, iommu_user_rm_ready(f->tbl));
	KUNIT_EXPECT_EQ(test, rm_set(20, 1, ua_of(f, 100), hpa, DMA_BIDIRECTIONAL),
			(long)-ENODEV);
	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, rm_unmap(0, 512), 0L);
	KUNIT_EXPECT_EQ(test, rm_finish(), 0);
	model_set(f, 0, 512, 0, false);
	expect_model(test);
}

/* v1 with the MMU off: what can be dropped is, the rest is put back untouched. */
static void real_mode_pins(struct kunit *test)
{
	call_t call = way_make(test, true, 12);
	const unsigned int last = (P >> 12) - 1;
	struct fixture *f = test->priv;
	struct page *page;
	unsigned int i;

	if (radix_enabled())
		kunit_skip(test, "no realmode_pfn_to_page() with radix translation");
	KUNIT_EXPECT_EQ(test, rm_get(f->base, 4096, true), (long)-ENODEV);
	KUNIT_EXPECT_EQ(test, map_range(f, 0, 20, f->base, DMA_TO_DEVICE), 0);
	KUNIT_EXPECT_EQ(test, map_range(f, 30, 3, ua_of(f, 4), DMA_BIDIRECTIONAL), 0);
	expect_model(test);

	iommu_user_begin(&f->g, f->tbl);
	KUNIT_EXPECT_EQ(test, rm_set(2, 1, f->base, f->hpa[0], DMA_TO_DEVICE), (long)-ENODEV);
	/* Read only, and the process still has the page */
	KUNIT_EXPECT_EQ(test, rm_unmap(3, 5), 0L);
	model_set(f, 3, 5, 0, false);
	expect_model(test);

	/* To be dirtied: only if it is already */
	page = pfn_to_page(f->hpa[4] >> PAGE_SHIFT);
	if (!PageDirty(page)) {
		KUNIT_EXPECT_EQ(test, rm_unmap(30, 1), (long)-ENODEV);
		expect_model(test);
	}
	SetPageDirty(page);
	KUNIT_EXPECT_EQ(test, rm_unmap(30, 1), 0L);
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
			KUNIT_EXPECT_EQ(test, rm_unmap(i, 1), 0L);
			model_set(f, i, 1, 0, false);
		} else {
			KUNIT_EXPECT_EQ(test, rm_unmap(i, 1), (long)-ENODEV);
			KUNIT_EXPECT_EQ(test, f->out, 0UL);
		}
		expect_model(test);
	}
	expect_held(test);
	KUNIT_EXPECT_EQ(test, unmap_range(f, 0, ENTRIES), 7L);
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
	KUNIT_CASE_PARAM(refused, kind_gen_params),
	KUNIT_CASE_PARAM(random_ranges, kind_gen_params),
	KUNIT_CASE_PARAM(threads, kind_gen_params),
	KUNIT_CASE_PARAM(threads_revoked, kind_gen_params),
	KUNIT_CASE_PARAM(revoke_waits, way_gen_params),
	KUNIT_CASE_PARAM(real_mode, way_gen_params),
	KUNIT_CASE_PARAM(lists, way_gen_params),
	KUNIT_CASE_PARAM(real_mode_too_hard, way_gen_params),
	KUNIT_CASE_PARAM(real_mode_pins, way_gen_params),
	{}
};

static struct kunit_suite iommu_user_suite = {
	.name = "iommu_user",
	.init = iommu_user_test_init,
	.exit = iommu_user_test_exit,
	.test_cases = iommu_user_cases,
};

kunit_test_suite(iommu_user_suite);
